"""Pairs of pictures that share a template, a logo or a part, with the region that is shared; and pairs that do not.

Pictures are real; where the shared part lies, and what was done to the candidate afterwards, is drawn by a seed.
"""

import enum
import io
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from imgaudit.exceptions import InputError
from imgaudit.lab.layouts import LEAST_DETAIL, Mask, covering, detail, trimmed

SIDE = 512
"""Pixels of the longer side of a picture from which pairs are made."""

TRIES = 40
"""Places that are drawn for a part before the picture is given up."""


class Planting(enum.StrEnum):
    """How the two images of a pair are related."""

    TEMPLATE = "template"
    LOGO = "logo in a picture"
    SHARED_LOGO = "logo in both pictures"
    COMPOSITE = "part in a composite"
    UNRELATED = "other pictures"
    CROSSED = "other layouts and logos"
    BACKGROUND = "same flat background"


RELATED = (Planting.TEMPLATE, Planting.LOGO, Planting.SHARED_LOGO, Planting.COMPOSITE)
"""Pairs that share something."""


@dataclass(frozen=True)
class Pair:
    """Two images and what they share."""

    planting: Planting
    """How they are related."""
    target: Image.Image
    """The image that may have been copied."""
    candidate: Image.Image
    """The image that may hold a copy; degrade."""
    truth: Mask | None
    """What is shared, over the target, or over the candidate where `in_candidate`; None where nothing is."""
    in_candidate: bool = False
    """Whether the truth is the place in the candidate: a logo is shared whole, so only where it went can be missed."""
    sources: frozenset[int] = frozenset()
    """Numbers of the pictures it is made of."""

    @property
    def share(self) -> float:
        """Share of the area that is shared."""
        return 0.0 if self.truth is None else float(self.truth.mean())


def degrade(image: Image.Image, rng: random.Random) -> Image.Image:
    """As it might come back: resized, its colours shifted, slightly blurred or noisy, compressed as JPEG."""
    factor = rng.uniform(0.6, 1.4)
    size = (max(32, round(image.width * factor)), max(32, round(image.height * factor)))
    image = image.resize(size, rng.choice([Image.Resampling.BILINEAR, Image.Resampling.LANCZOS]))
    for kind in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = kind(image).enhance(rng.uniform(0.85, 1.15))
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 1.0)))
    if rng.random() < 0.5:
        noise = np.random.default_rng(rng.getrandbits(32)).normal(0, rng.uniform(1, 6), (*image.size[::-1], 3))
        image = Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=rng.randint(40, 92))
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def _rectangle(width: int, height: int, share: float, rng: random.Random) -> tuple[int, int, int, int]:
    """A rectangle of a share of the area, somewhere inside: left, top, right, bottom."""
    least = max(share / 0.95, share**0.5 * 0.7)
    across = rng.uniform(least, min(0.95, share / least))
    w, h = max(1, round(across * width)), max(1, round(share / across * height))
    w, h = min(w, width), min(h, height)
    left, top = rng.randint(0, width - w), rng.randint(0, height - h)
    return left, top, left + w, top + h


def _inside(image: Image.Image, box: tuple[int, int, int, int]) -> Mask:
    mask = np.zeros((image.height, image.width), dtype=bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def _detailed_part(
    image: Image.Image, low: float, high: float, rng: random.Random, *, outside: bool
) -> tuple[tuple[int, int, int, int], Mask]:
    """A rectangle, and the part of the picture inside or outside that has detail. Raises InputError without one."""
    for _ in range(TRIES):
        box = _rectangle(image.width, image.height, rng.uniform(low, high), rng)
        mask = _inside(image, box)
        if detail(image, ~mask if outside else mask) >= LEAST_DETAIL:
            return box, ~mask if outside else mask
    raise InputError("no part of the picture has enough detail")


def template_pair(layout: Image.Image, fills: Sequence[Image.Image], rng: random.Random) -> Pair:
    """One layout twice, its changing region (20 to 60 % of the area) filled from another picture each time."""
    images, mask = template_family(layout, fills[:2], rng)
    return Pair(Planting.TEMPLATE, images[0], degrade(images[1], rng), mask)


def template_family(
    layout: Image.Image, fills: Sequence[Image.Image], rng: random.Random
) -> tuple[list[Image.Image], Mask]:
    """Images of one layout, one for each filling of its changing region, and the mask of what stays the same.

    The layout loses its blank margin first: of nothing it cannot be said where it was copied.
    Raises InputError when the layout has too little detail outside every region that is drawn.
    """
    layout = trimmed(layout)
    box, mask = _detailed_part(layout, 0.2, 0.6, rng, outside=True)
    images = [layout.copy() for _ in fills]
    for image, fill in zip(images, fills, strict=True):
        image.paste(covering(trimmed(fill), box[2] - box[0], box[3] - box[1]), box[:2])
    return images, mask


def paste_logo(host: Image.Image, logo: Image.Image, rng: random.Random) -> tuple[Image.Image, Mask]:
    """A picture with a logo of 4 to 20 % of its area: anywhere, turned by up to 10 degrees, half of them mirrored."""
    share = rng.uniform(0.04, 0.2)
    factor = (share * host.width * host.height / (logo.width * logo.height)) ** 0.5
    factor = min(factor, 0.9 * host.width / logo.width, 0.9 * host.height / logo.height)
    small = logo.resize((max(8, round(logo.width * factor)), max(8, round(logo.height * factor))),
                        Image.Resampling.LANCZOS)  # fmt: skip
    if rng.random() < 0.5:
        small = small.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    angle = rng.uniform(-10, 10)
    cover = Image.new("L", small.size, 255).rotate(angle, Image.Resampling.BILINEAR, expand=True)
    small = small.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    left, top = (rng.randint(0, max(0, a - b)) for a, b in zip(host.size, small.size, strict=True))
    image, placed = host.copy(), Image.new("L", host.size, 0)
    image.paste(small, (left, top), cover)
    placed.paste(cover, (left, top))
    return image, np.asarray(placed) >= 128


def logo_pair(host: Image.Image, logo: Image.Image, rng: random.Random) -> Pair:
    """A logo, and a picture that holds it; the truth is the place in the candidate."""
    own = trimmed(logo)
    image, mask = paste_logo(host, own, rng)
    return Pair(Planting.LOGO, own, degrade(image, rng), mask, in_candidate=True)


def shared_logo_pair(hosts: Sequence[Image.Image], logo: Image.Image, rng: random.Random) -> Pair:
    """Two pictures that hold one logo, each in its own place, size and turn; the truth is the place in the target."""
    own = trimmed(logo)
    target, mask = paste_logo(hosts[0], own, rng)
    candidate, _ = paste_logo(hosts[1], own, rng)
    return Pair(Planting.SHARED_LOGO, target, degrade(candidate, rng), mask)


def composite_pair(picture: Image.Image, other: Image.Image, rng: random.Random) -> Pair:
    """A picture without its blank margin, and a composite of a part of it (30 to 70 % of the area) beside another."""
    picture = trimmed(picture)
    box, mask = _detailed_part(picture, 0.3, 0.7, rng, outside=False)
    part = picture.crop(box)
    if rng.random() < 0.5:
        part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < 0.5:
        beside = covering(other, max(16, round(part.width * rng.uniform(0.5, 1))), part.height)
        size, places = (part.width + beside.width, part.height), ((0, 0), (part.width, 0), (beside.width, 0))
    else:
        beside = covering(other, part.width, max(16, round(part.height * rng.uniform(0.5, 1))))
        size, places = (part.width, part.height + beside.height), ((0, 0), (0, part.height), (0, beside.height))
    canvas = Image.new("RGB", size)
    first, second = (places[0], places[1]) if rng.random() < 0.5 else (places[2], places[0])
    canvas.paste(part, first)
    canvas.paste(beside, second)
    return Pair(Planting.COMPOSITE, picture, degrade(canvas, rng), mask)


def background_pair(left: Image.Image, right: Image.Image, rng: random.Random) -> Pair:
    """Different pictures in the middle of canvases of one size and one colour."""
    colour = tuple(rng.randint(0, 255) for _ in range(3))
    share = rng.uniform(0.4, 0.9)
    images = []
    for picture in (left, right):
        canvas = Image.new("RGB", (SIDE, SIDE), colour)
        own = trimmed(picture)
        factor = share * SIDE / max(own.size)
        own = own.resize((max(1, round(own.width * factor)), max(1, round(own.height * factor))))
        canvas.paste(own, ((SIDE - own.width) // 2, (SIDE - own.height) // 2))
        images.append(canvas)
    return Pair(Planting.BACKGROUND, images[0], degrade(images[1], rng), None)


def related_pair(planting: Planting, pictures: Sequence[Image.Image], rng: random.Random) -> Pair:
    """A pair of one kind from pictures drawn without replacement; another draw when one has too little detail.

    Raises InputError when no draw succeeds.
    """
    for _ in range(TRIES):
        numbers = rng.sample(range(len(pictures)), 3)
        try:
            pair = _plant(planting, [pictures[number] for number in numbers], rng)
        except InputError:
            continue
        return replace(pair, sources=frozenset(numbers))
    raise InputError("expected pictures with detail, but none of those drawn has a part with enough of it")


def _plant(planting: Planting, pictures: Sequence[Image.Image], rng: random.Random) -> Pair:
    if planting is Planting.TEMPLATE:
        return template_pair(pictures[0], pictures[1:], rng)
    if planting is Planting.LOGO:
        return logo_pair(pictures[0], pictures[1], rng)
    if planting is Planting.SHARED_LOGO:
        return shared_logo_pair(pictures[:2], pictures[2], rng)
    return composite_pair(pictures[0], pictures[1], rng)

"""Views of a picture with which a collection is searched: its mirror image, its content, crops, and larger pictures.

A collection holds one vector per image. Which part of a picture a copy has kept, or what was put around it, is tried on
the side of the query. Every view has its own chance of being like a stranger, so an allowance is taken off.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from imgaudit.index.allowances import ALLOWANCES
from imgaudit.index.content import find_content
from imgaudit.index.faiss_file import Vectors
from imgaudit.index.view_plan import Place, plan_parts, plan_places
from imgaudit.similarity.descriptors import Descriptor, DetailDescriptor

WORKING_SIDE = 160
"""Pixels of the longer side of the picture from which parts are cut; descriptors that have views see 32."""

LEAST_CONTRAST = 0.4
"""Contrast of a part, as a share of that of the whole picture, below which it is left out: an empty corner."""

WHOLE, INSIDE = "whole picture", "part of a larger picture"

ANGLES = (-20, -8, 8, 20)
"""Degrees by which a picture is turned, its corners white."""

Transpose = Image.Transpose

QUARTERS = (Transpose.ROTATE_90, Transpose.ROTATE_180, Transpose.ROTATE_270)


@dataclass(frozen=True)
class Views:
    """The views of one query."""

    vectors: Vectors
    """(V, dimension), that of the whole picture first."""
    words: Sequence[str]
    """What each shows."""
    groups: Sequence[str]
    """Group of each; views of one group share an allowance."""
    allowances: npt.NDArray[np.float32]
    """What is taken off the similarity of each, at least 0: how much closer than the whole picture it is to others."""

    @classmethod
    def of_vector(cls, vector: Vectors, words: str) -> "Views":
        """Return the only view of a query that is searched as it is; vector (dimension,)."""
        return cls(vector[None], [words], ["whole"], np.zeros(1, np.float32))


class _Cut(NamedTuple):
    """A view that is an image of its own."""

    group: str
    words: str
    square: Image.Image


def has_views(descriptor: str) -> bool:
    """Return whether a descriptor has views: others are searched with the whole picture, as they were made for it."""
    return descriptor in ALLOWANCES


def describe_views(descriptor: Descriptor, image: Image.Image, whole: Vectors) -> Views:
    """Describe all views of an RGB image, those of one size in one batch.

    whole:  (dimension,), the vector of the whole picture, as a collection would hold it
    """
    reduced = _reduce(image)
    squares, cuts = _to_tensors([_squash(reduced, descriptor.side)]), list(_cut_views(reduced, descriptor.side))
    cuts += _surround(reduced, descriptor.side)
    parts = _to_tensors([one.square for one in cuts])
    least = LEAST_CONTRAST * _measure_contrast(squares)
    kept = (_measure_contrast(parts) >= least).numpy()
    vectors = [whole[None], np.asarray(descriptor.describe(parts), np.float32)[kept]]
    groups, words = ["whole"], [WHOLE]
    for one, used in zip(cuts, kept, strict=True):
        if used:
            groups.append(one.group)
            words.append(one.words)
    if isinstance(descriptor, DetailDescriptor):
        placed = sorted(plan_places(*reduced.size), key=_size_of)
        for (width, height), places in groupby(placed, _size_of):
            here = list(places)
            straight = reduced.resize((width, height), Image.Resampling.BOX)
            both = _to_tensors([straight, straight.transpose(Transpose.FLIP_LEFT_RIGHT)])
            inside = descriptor.describe_within(both, [(one.left, one.top) for one in here])
            vectors.append(np.asarray(inside, np.float32))
            groups += [one.group for one in here for _ in both]
            words += [INSIDE, f"mirrored {INSIDE}"] * len(here)
    allowed = ALLOWANCES[descriptor.name]
    allowances = np.array([allowed[group] for group in groups], np.float32)
    return Views(np.ascontiguousarray(np.concatenate(vectors)), words, groups, allowances)


def _size_of(place: Place) -> tuple[int, int]:
    return place.width, place.height


def _to_tensors(images: Sequence[Image.Image]) -> torch.Tensor:
    """Return RGB images of one size as (N, 3, H, W) float32 in [-1, 1]."""
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images]))
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


def _measure_contrast(images: torch.Tensor) -> torch.Tensor:
    return images.mean(dim=1).std(dim=(1, 2))


def _reduce(image: Image.Image) -> Image.Image:
    """Return the picture at the working size: hundreds of parts of a large one would take seconds to cut."""
    reduced = image.copy()
    reduced.thumbnail((WORKING_SIDE, WORKING_SIDE), Image.Resampling.LANCZOS)
    return reduced


def _squash(image: Image.Image, side: int, box: tuple[float, float, float, float] | None = None) -> Image.Image:
    return image.resize((side, side), Image.Resampling.BOX, box=box)


def _cut_views(image: Image.Image, side: int) -> Iterator[_Cut]:
    """Yield the views that are parts of the picture, mirrored or turned."""
    width, height = image.size
    whole = _squash(image, side)
    yield _Cut("mirror", "mirror image", whole.transpose(Transpose.FLIP_LEFT_RIGHT))
    yield from (_Cut("turned", "turned", whole.transpose(turn)) for turn in QUARTERS)
    content = find_content(image)
    if content != (0, 0, width, height):
        inner = _squash(image, side, content)
        yield _Cut("content", "content without its margin", inner)
        yield _Cut("content", "mirrored content without its margin", inner.transpose(Transpose.FLIP_LEFT_RIGHT))
        yield from (_Cut("content", "turned content without its margin", inner.transpose(turn)) for turn in QUARTERS)
    for angle in ANGLES:
        turned = image.rotate(angle, Image.Resampling.BILINEAR, expand=abs(angle) > 10, fillcolor="white")
        yield _Cut("tilted", "tilted", _squash(turned, side))
        upright = _cut_upright(image, angle)
        if upright is not None:
            yield _Cut("upright", "tilted back", _squash(upright, side))
    for part in plan_parts(width, height):
        left, top, right, bottom = part.box
        square = _squash(image, side, (left * width, top * height, right * width, bottom * height))
        yield _Cut(part.group, part.words, square)
        if part.group.startswith("crop"):
            yield _Cut(part.group, f"mirrored {part.words}", square.transpose(Transpose.FLIP_LEFT_RIGHT))


def _cut_upright(image: Image.Image, angle: float) -> Image.Image | None:
    """Turn back a picture that was turned by -angle with white corners around it; None where no picture fits."""
    cosine, sine = math.cos(math.radians(angle)), abs(math.sin(math.radians(angle)))
    spread = cosine * cosine - sine * sine
    width = (image.width * cosine - image.height * sine) / spread
    height = (image.height * cosine - image.width * sine) / spread
    if min(width, height) < image.width / 4:
        return None
    turned = image.rotate(angle, Image.Resampling.BILINEAR, fillcolor="white")
    left, top = (image.width - width) / 2, (image.height - height) / 2
    return turned.crop((round(left), round(top), round(left + width), round(top + height)))


def _surround(image: Image.Image, side: int) -> Iterator[_Cut]:
    """Yield the picture and its mirror image inside white and black borders, and between white and black bars."""
    for group, left, top, width, height in plan_places(*image.size):
        if group not in ("in a border", "between bars"):
            continue
        inner = image.resize((width, height), Image.Resampling.BOX)
        for colour in ("white", "black"):
            page = Image.new("RGB", (side, side), colour)
            page.paste(inner, (left, top))
            yield _Cut("surrounded", "with a border", page)
            yield _Cut("surrounded", "mirrored, with a border", page.transpose(Transpose.FLIP_LEFT_RIGHT))

"""Layouts that many images share, as posters, catalogues and logos do, each with its own content.

A model that is trained on many such images may memorise the layout alone (Webster 2023, arXiv 2305.08694: *template*
copies). The part that stays the same is known, so a lab can say whether it was memorised, and where it lies.
"""

import random
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops

COARSE = 64
"""Pixels of the longer side at which detail is looked for."""

LEAST_DETAIL = 0.1
"""Share of a part's pixels that must lie on an edge: a blank part could not be told from any other."""

Mask = npt.NDArray[np.bool_]
Box = tuple[int, int, int, int]

LayoutKind = Literal["frame", "logo", "background"]
KINDS: tuple[LayoutKind, ...] = get_args(LayoutKind)


def detail(image: Image.Image, mask: Mask | None = None) -> float:
    """Share of the pixels (inside the mask) at which luminance steps by more than 24 of 255, at COARSE pixels.

    At that size fine hatching is grey and thin outlines are gone: what is left would be recognised on a thumbnail.
    """
    factor = COARSE / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    gray = np.asarray(image.convert("L").resize(size, Image.Resampling.BOX), dtype=np.int16)
    step = np.zeros(gray.shape, dtype=bool)
    step[:, 1:] |= np.abs(np.diff(gray, axis=1)) > 24
    step[1:] |= np.abs(np.diff(gray, axis=0)) > 24
    if mask is None:
        return float(step.mean())
    inside = np.asarray(Image.fromarray(mask).convert("L").resize(size, Image.Resampling.BOX)) >= 128
    return float(step[inside].mean()) if inside.any() else 0.0


def trimmed(image: Image.Image) -> Image.Image:
    """Without the margin that has the colour of the upper left pixel."""
    corner = Image.new("RGB", image.size, image.getpixel((0, 0)))
    box = ImageChops.difference(image, corner).convert("L").point(lambda value: 255 * (value > 16)).getbbox()
    return image.crop(box) if box else image


def covering(image: Image.Image, width: int, height: int) -> Image.Image:
    """Enlarged or reduced to cover a rectangle, and cut to it from the centre."""
    factor = max(width / image.width, height / image.height)
    size = (max(width, round(image.width * factor)), max(height, round(image.height * factor)))
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return image.resize(size, Image.Resampling.LANCZOS).crop((left, top, left + width, top + height))


@dataclass(frozen=True)
class Layout:
    """What every image of a family shares, and where the content goes."""

    kind: LayoutKind
    """frame: a pattern around the content; logo: a drawing in a corner, over the content; background: a drawing that
    fills the image, with the content on a white card."""
    picture: Image.Image
    """The shared part on a square canvas; pixels that the content covers are white."""
    mask: Mask
    """True where the shared part is visible."""
    box: Box
    """The rectangle that the content fills: left, top, right, bottom in pixels."""

    def fill(self, content: Image.Image) -> Image.Image:
        """Return the layout with a content, which is scaled to cover its rectangle and cut to it."""
        left, top, right, bottom = self.box
        image = Image.new("RGB", self.picture.size, "white")
        image.paste(covering(content, right - left, bottom - top), (left, top))
        image.paste(self.picture, mask=Image.fromarray(self.mask))
        return image


def draw_layout(kind: LayoutKind, drawing: Image.Image, side: int, rng: random.Random) -> Layout:
    """Make a layout of a drawing: its colours, sizes and places are drawn from `rng`.

    drawing:  the layout's own, used in no other image
    side:     pixels of the square image
    """
    paper = tuple(rng.randint(150, 245) for _ in range(3))
    own = ImageChops.multiply(trimmed(drawing), Image.new("RGB", trimmed(drawing).size, paper))
    if kind == "logo":
        return _draw_logo(own, side, rng)
    canvas, share = Image.new("RGB", (side, side), paper), rng.uniform(0.45, 0.6)
    length = round(share * side)
    if kind == "frame":
        tile = covering(own, side // 4, side // 4)
        for left in range(0, side, side // 4):
            for top in range(0, side, side // 4):
                canvas.paste(tile, (left, top))
        left = top = (side - length) // 2
    else:
        canvas.paste(covering(own, side, side))
        left, top = (rng.randint(side // 16, side - length - side // 16) for _ in range(2))
    mask = np.ones((side, side), dtype=bool)
    mask[top : top + length, left : left + length] = False
    return Layout(kind, canvas, mask, (left, top, left + length, top + length))


def _draw_logo(own: Image.Image, side: int, rng: random.Random) -> Layout:
    length = round(rng.uniform(0.5, 0.6) * side)
    left, top = (rng.choice((0, side - length)) for _ in range(2))
    canvas = Image.new("RGB", (side, side), "white")
    canvas.paste(covering(own, length, length), (left, top))
    mask = np.zeros((side, side), dtype=bool)
    mask[top : top + length, left : left + length] = True
    return Layout("logo", canvas, mask, (0, 0, side, side))

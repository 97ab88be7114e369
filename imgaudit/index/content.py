"""The content of a picture: what is left without plain margins, such as a border, letterbox bars or a mount."""

import numpy as np
import numpy.typing as npt
from PIL import Image

TOLERANCE = 24
"""Difference of intensities, of 255, up to which a pixel has the colour of the margin."""

PLAIN_SHARE = 0.97
"""Share of a line's pixels that must have the colour of the margin: a speck or noise does not end it."""

LEAST_SHARE = 0.15
"""Share of a side that content must have: less is a dot on an empty page."""

ROUNDS = 3
"""Margins inside margins that are taken off, such as a thin frame inside a mount."""

Box = tuple[int, int, int, int]


def find_content(image: Image.Image) -> Box:
    """Return the content of an RGB image as (left, top, right, bottom); the whole image where no margin is plain.

    >>> page = Image.new("RGB", (80, 60), "white")
    >>> page.paste(Image.radial_gradient("L").resize((40, 30)), (10, 20))
    >>> left, top, right, bottom = find_content(page)
    >>> right - left <= 44 and bottom - top <= 34
    True
    """
    pixels = np.asarray(image.convert("RGB")).astype(np.int16)
    height, width = pixels.shape[:2]
    left, top, right, bottom = 0, 0, width, height
    for _ in range(ROUNDS):
        before = left, top, right, bottom
        top += _count_plain_rows(pixels[top:bottom, left:right])
        bottom -= _count_plain_rows(pixels[top:bottom, left:right][::-1])
        left += _count_plain_rows(pixels[top:bottom, left:right].swapaxes(0, 1))
        right -= _count_plain_rows(pixels[top:bottom, left:right].swapaxes(0, 1)[::-1])
        if before == (left, top, right, bottom):
            break
    if right - left < LEAST_SHARE * width or bottom - top < LEAST_SHARE * height:
        return 0, 0, width, height
    return left, top, right, bottom


def _count_plain_rows(pixels: npt.NDArray[np.int16]) -> int:
    """Count the rows (h, w, 3) from the first on that are of the first row's colour."""
    if not pixels.size:
        return 0
    colour = np.median(pixels[0], axis=0)
    alike = (np.abs(pixels - colour).max(axis=2) <= TOLERANCE).mean(axis=1) >= PLAIN_SHARE
    return int(np.argmin(alike)) if not alike.all() else len(alike)

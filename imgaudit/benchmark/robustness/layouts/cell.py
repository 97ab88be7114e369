"""One file of the matrix of layouts, with the picture that it holds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""RGB, (height, width, 3)."""

WIDTH, HEIGHT = 23, 20
"""Size of the pictures: an odd width, so that rows of less than 8 bits a sample end within a byte."""


@dataclass(frozen=True)
class Cell:
    """A file and the picture that it holds."""

    kind: str
    """Row of the table that it is counted in."""
    name: str
    """Its layout, in words."""
    data: bytes
    """The file."""
    wanted: Pixels
    """The picture by the format's specification, in 8-bit sRGB on white."""
    tolerance: float = 2.0
    """Largest difference, of 255, of any channel; for lossy formats of the mean over the picture."""
    lossy: bool = False
    """Whether the format changes the pixels."""


def make_picture() -> NDArray[np.float64]:
    """Return a picture (height, width, 3) in 0 to 1 whose channels and places all differ, and none of which is flat."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    u, v = x / (WIDTH - 1), y / (HEIGHT - 1)
    return np.stack([u, v * 0.7 + 0.1, 0.25 + 0.5 * (u * v) + 0.2 * (1 - u)], axis=-1)


def make_alpha() -> NDArray[np.float64]:
    """Return an alpha channel (height, width) in 0.2 to 1."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.asarray(0.2 + 0.8 * ((x + 2 * y) % 9) / 8)


def to_bytes(picture: NDArray[np.float64]) -> Pixels:
    """Return a picture in 0 to 1, grey or RGB, as 8-bit RGB."""
    reduced = (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)
    return np.repeat(reduced[..., None], 3, axis=-1) if reduced.ndim == 2 else reduced

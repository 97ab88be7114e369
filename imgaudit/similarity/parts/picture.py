"""A picture at the size at which pairs are compared, and maps between two of them."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch

from imgaudit.exceptions import InputError

WORKING_SIDE = 512
"""Pixels of the longer side of a picture while it is compared: smaller ones are enlarged, larger ones reduced."""

Mask = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Picture:
    """An image at the working size."""

    gray: Bytes
    """(h, w) luminance; the longer side is WORKING_SIDE."""
    native: int = WORKING_SIDE
    """Pixels of the longer side that it came with."""

    @property
    def width(self) -> int:
        """Pixels."""
        return int(self.gray.shape[1])

    @property
    def height(self) -> int:
        """Pixels."""
        return int(self.gray.shape[0])

    @classmethod
    def of(cls, image: torch.Tensor) -> "Picture":
        """Prepare (3, H, W) in [-1, 1], of any size. Raises InputError for other shapes, for NaN and for infinity."""
        if image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
            raise InputError(f"expected an image of shape (3, H, W), got {tuple(image.shape)}")
        if not torch.isfinite(image).all():
            raise InputError("expected an image of finite numbers in [-1, 1], got NaN or infinity")
        array = ((image.detach().float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()
        gray = cv2.cvtColor(np.ascontiguousarray(array.permute(1, 2, 0).numpy()), cv2.COLOR_RGB2GRAY)
        return cls(resize_gray(np.asarray(gray, dtype=np.uint8), WORKING_SIDE), max(gray.shape))

    def mirrored(self) -> "Picture":
        """Return the picture with left and right exchanged."""
        return Picture(np.ascontiguousarray(self.gray[:, ::-1]), self.native)


def resize_gray(gray: Bytes, side: int) -> Bytes:
    """Resize (h, w) to a longer side of `side` pixels; a side of less than a pixel becomes one.

    >>> resize_gray(np.zeros((1, 5000), dtype=np.uint8), 384).shape
    (1, 384)
    """
    height, width = gray.shape
    factor = side / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    if size == (width, height):
        return gray
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(gray, size, interpolation=method), dtype=np.uint8)


def scale_map(matrix: Floats, into: float, source: float) -> Floats:
    """Scale a (2, 3) map of pixel centres between two pictures that are resized by the factors `into` and `source`.

    Pixel centres lie at whole numbers, so a resize by f takes x to f (x + 1/2) - 1/2.
    """
    linear = matrix[:, :2] * into / source
    half = np.array([0.5, 0.5])
    shift = into * (matrix[:, 2] + half) - half - linear @ (source * half - half)
    return np.column_stack([linear, shift])


def to_fraction_map(matrix: Floats, into: Picture, source: Picture) -> Floats:
    """Return a (2, 3) map of pixel centres as one of fractions of the sides, both from 0 to 1."""
    to = np.diag([1 / into.width, 1 / into.height])
    size = np.array([source.width, source.height])
    half = np.array([0.5, 0.5])
    linear = to @ matrix[:, :2] @ np.diag(size)
    return np.column_stack([linear, to @ (matrix[:, 2] + half - matrix[:, :2] @ half)])

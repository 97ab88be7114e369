"""The detail descriptor: how far the fine detail of two images agrees at 32 x 32. It needs no weights."""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import interpolate

SIDE = 32
"""Pixels of a side at which detail is compared."""

REACH = 2.0
"""Standard deviation, in pixels, of the blur that is taken off: what is coarser than this is no detail."""

FAINT = 6 / 127.5
"""Contrast, in units of [-1, 1], below which detail fades instead of being raised to the contrast of the rest."""

LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601)."""


class DetailDescriptor:
    """Local contrast at 32 x 32: luminance less its blur, divided by the contrast around it, scaled to length one.

    The inner product of two such vectors is the correlation of their detail, in [-1, 1]. Light, colour and a plain
    background, in which pictures often agree by chance, have little part in it. An image without any detail gets the
    zero vector.
    """

    name = "detail"
    side = SIDE
    dimension = SIDE * SIDE
    binary = False
    source = "imgaudit: 32 x 32 luminance, blur of 2 pixels removed, divided by local contrast"

    def describe(self, images: torch.Tensor) -> npt.NDArray[np.generic]:
        """Describe (N, 3, H, W) in [-1, 1] as (N, 1024) float32."""
        small = images.float()
        if small.shape[-2:] != (SIDE, SIDE):
            small = interpolate(small, (SIDE, SIDE), mode="area")
        return _scale_to_unit(measure_detail(small)).numpy()

    def describe_within(self, images: torch.Tensor, places: Sequence[tuple[int, int]]) -> npt.NDArray[np.generic]:
        """Describe images (N, 3, h, w), at most 32 x 32, as parts of larger ones of which nothing else is known.

        places:  pixels (left, top) of the square of 32 x 32 that lie to the left of the part and above it

        The rest of the square is zero, so the similarity is at most the square root of the share of detail that the
        part holds. Returns (places x N, 1024) float32, place by place.
        """
        height, width = images.shape[-2:]
        detail = measure_detail(images.float())
        squares = torch.zeros(len(places), len(images), SIDE, SIDE)
        for square, (left, top) in zip(squares, places, strict=True):
            square[:, top : top + height, left : left + width] = detail
        return _scale_to_unit(squares.flatten(0, 1)).numpy()


def measure_detail(images: torch.Tensor) -> torch.Tensor:
    """Return the local contrast (N, H, W) of images (N, 3, H, W) in [-1, 1]; its mean over each image is zero."""
    plane = torch.einsum("nchw,c->nhw", images, torch.tensor(LUMINANCE))
    across, down = _blur_matrix(plane.shape[2]), _blur_matrix(plane.shape[1])
    detail = plane - down @ plane @ across.T
    contrast = (down @ detail.square() @ across.T).clamp(min=0).sqrt()
    detail = detail / (contrast + FAINT)
    return detail - detail.mean(dim=(1, 2), keepdim=True)


@cache
def _blur_matrix(side: int) -> torch.Tensor:
    """Return the (side, side) matrix of a Gaussian blur whose edge pixels are repeated outside."""
    reach = math.ceil(4 * REACH)
    steps = torch.arange(-reach, reach + 1)
    weights = torch.exp(-0.5 * (steps / REACH).square())
    weights = weights / weights.sum()
    places = (torch.arange(side)[:, None] + steps).clamp(0, side - 1)
    return torch.zeros(side, side).scatter_add_(1, places, weights.expand(side, -1).contiguous())


def _scale_to_unit(planes: torch.Tensor) -> torch.Tensor:
    flat = planes.flatten(1)
    norm = flat.norm(dim=1, keepdim=True)
    return torch.where(norm > 1e-3, flat / norm.clamp(min=1e-3), torch.zeros_like(flat))

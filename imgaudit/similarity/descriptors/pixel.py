"""The pixel descriptor: an image's correlation with another at 32 x 32. It needs no weights."""

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import interpolate


class PixelDescriptor:
    """Normalised correlation: the image at 32 x 32, its mean removed, scaled to length one.

    The inner product of two such vectors is their Pearson correlation over pixels and channels, in [-1, 1].
    A constant image has no direction; it gets the zero vector, whose similarity to anything is 0.
    """

    name = "pixel"
    side = 32
    dimension = 3 * 32 * 32
    binary = False
    source = "imgaudit: 32 x 32 area-averaged RGB, mean removed"

    def describe(self, images: torch.Tensor) -> npt.NDArray[np.generic]:
        """Describe (N, 3, H, W) in [-1, 1] as (N, 3072) float32."""
        small = images.float()
        if small.shape[-1] != self.side or small.shape[-2] != self.side:
            small = interpolate(small, (self.side, self.side), mode="area")
        flat = small.flatten(1)
        flat = flat - flat.mean(dim=1, keepdim=True)
        norm = flat.norm(dim=1, keepdim=True)
        return torch.where(norm > 1e-3, flat / norm.clamp(min=1e-3), torch.zeros_like(flat)).numpy()

"""What networks that describe images are given: squares of one size, normalised as in their training."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import interpolate, normalize

IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's intensities in [0, 1], by channel."""

BATCH_SIZE = 16
"""Images that go through a network together; part of what makes the numbers repeat."""


def squash_images(images: torch.Tensor, side: int) -> torch.Tensor:
    """Squash (N, 3, H, W) in [-1, 1] to (N, 3, side, side) in [0, 1]: not cropped, bilinear with antialiasing."""
    scaled = (images.float().clamp(-1, 1) + 1) / 2
    if scaled.shape[-2:] == (side, side):
        return scaled
    return interpolate(scaled, (side, side), mode="bilinear", align_corners=False, antialias=True).clamp(0, 1)


def normalise_for_imagenet(images: torch.Tensor) -> torch.Tensor:
    """Turn intensities in [0, 1] into those that ImageNet's networks were trained on."""
    mean, deviation = (images.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_DEVIATION))
    return (images - mean) / deviation


@torch.inference_mode()
def embed_images(
    images: torch.Tensor, side: int, network: Callable[[torch.Tensor], torch.Tensor], dimension: int
) -> npt.NDArray[np.float32]:
    """Return unit vectors (N, dimension) float32 of images (N, 3, H, W) in [-1, 1], a few at a time.

    network:  (n, 3, side, side) in [0, 1] to (n, dimension)
    """

    def batches() -> Iterator[torch.Tensor]:
        for start in range(0, len(images), BATCH_SIZE):
            yield normalize(network(squash_images(images[start : start + BATCH_SIZE], side)).float()).cpu()

    rows = list(batches())
    return np.asarray(torch.cat(rows).numpy() if rows else np.zeros((0, dimension)), dtype=np.float32)

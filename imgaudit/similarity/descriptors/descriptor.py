"""What a descriptor is: one vector per image, compared by a similarity (higher is closer).

Each carries its own preprocessing, dimension and provenance; callers pass images in the package's one range.
"""

from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch


class Descriptor(Protocol):
    """Maps images to vectors whose comparison tells copies from look-alikes."""

    @property
    def name(self) -> str:
        """Short name, a key in records."""

    @property
    def dimension(self) -> int:
        """Number of floats, or of bits when binary."""

    @property
    def side(self) -> int:
        """Pixels per side of the square that images are brought to first; a smaller square loses what it would see."""

    @property
    def binary(self) -> bool:
        """True for vectors of packed bits (compared by Hamming distance), False for unit floats (by inner product)."""

    @property
    def source(self) -> str:
        """Origin of the weights or the algorithm, with checksum or version."""

    def describe(self, images: torch.Tensor) -> npt.NDArray[np.generic]:
        """Describe (N, 3, H, W) in [-1, 1] as (N, dimension) float32 of unit length, or (N, dimension / 8) uint8."""


def compare_vectors(
    descriptor: Descriptor, left: npt.NDArray[np.generic], right: npt.NDArray[np.generic]
) -> list[float]:
    """Return the similarity of two sets of vectors of one descriptor, row by row; higher is closer."""
    if descriptor.binary:
        distance = np.bitwise_count(np.bitwise_xor(left.astype(np.uint8), right.astype(np.uint8))).sum(axis=1)
        return [float(value) for value in 1 - distance / descriptor.dimension]
    return [float(value) for value in np.einsum("nd,nd->n", left.astype(np.float64), right.astype(np.float64))]

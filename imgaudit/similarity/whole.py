"""Whole pictures: is one image the same picture as another, without a search for parts that agree?

Drawings with few edges have too few local features for a comparison in parts. Their fine detail still tells them apart:
that of the descriptor `detail`, 32 x 32 pixels of local contrast, in which light, colour and plain backgrounds have
little part. As pictures of one outline agree in most of it, each quarter has to agree too.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from imgaudit.similarity.descriptors import DetailDescriptor

DESCRIPTOR = DetailDescriptor()

LEAST_ENERGY = 0.125
"""Energy that the difference of two quarters is measured against at least; on average two quarters have 0.5. So what
little there is in an empty corner does not have to agree."""


class WholeSimilarity(NamedTuple):
    """How alike two whole pictures are."""

    similarity: float
    """Correlation of their detail, -1 to 1, higher = closer; 0 where one has none."""
    worst_quarter: float
    """Agreement of the quarter that agrees least, higher = closer: 1 - |a - b|^2 / (|a|^2 + |b|^2), with both details
    there as a and b: 1 where they are equal or both empty, about 0 where they have nothing to do with each other, -1
    where one is the negative of the other."""


@dataclass(frozen=True)
class WholePicture:
    """A picture, described for comparisons as a whole."""

    details: npt.NDArray[np.float32]
    """(2, 1024): the detail of the picture and of its mirror image, of length one; zeros without any."""

    @classmethod
    def of(cls, image: torch.Tensor) -> "WholePicture":
        """Describe (3, H, W) in [-1, 1]. The picture is squashed to a square.

        >>> plain = WholePicture.of(torch.zeros(3, 48, 64))
        >>> plain.compare(plain)
        WholeSimilarity(similarity=0.0, worst_quarter=1.0)
        """
        return cls(np.asarray(DESCRIPTOR.describe(torch.stack([image, image.flip(-1)])), np.float32))

    def compare(self, other: "WholePicture") -> WholeSimilarity:
        """Compare with another picture, as it is, or mirrored where it is more alike so."""
        similarities = self.details @ other.details[0]
        own = self.details[int(similarities.argmax())]
        left, right = _quarter(own), _quarter(other.details[0])
        energy = (np.square(left) + np.square(right)).sum(axis=1)
        apart = np.square(left - right).sum(axis=1) / np.maximum(energy, LEAST_ENERGY)
        return WholeSimilarity(float(similarities.max()), float(1 - apart.max()))


def _quarter(detail: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Cut a square of detail into its quarters: (4, pixels)."""
    half = DESCRIPTOR.side // 2
    return detail.reshape(2, half, 2, half).transpose(0, 2, 1, 3).reshape(4, half * half)

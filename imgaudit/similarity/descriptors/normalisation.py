"""Score normalisation: how much closer than to unrelated images an image is."""

import numpy as np
import numpy.typing as npt

from imgaudit.similarity.descriptors.descriptor import Descriptor

Vectors = npt.NDArray[np.generic]


class UnrelatedImages:
    """Images that are copies of nothing, beside which similarities are read.

    The normalised similarity of two images is their similarity less the mean similarity of the first with the
    `neighbours` closest of the background, as in SSCD's evaluation (Pizzi et al. 2022, section 5). It is no cosine: 0
    says "as close as to an unrelated image". Some pictures, such as drawings on white, are close to everything, and
    this takes that off.

    >>> from imgaudit.similarity.descriptors.pixel import PixelDescriptor
    >>> import torch
    >>> descriptor = PixelDescriptor()
    >>> vectors = descriptor.describe(torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    >>> background = UnrelatedImages(descriptor, vectors[2:], neighbours=2)
    >>> float(background.normalised(vectors[:1], [1.0])[0]) < 1
    True
    """

    def __init__(self, descriptor: Descriptor, vectors: Vectors, *, neighbours: int = 10) -> None:
        """Refuse fewer images than neighbours. Raises ValueError."""
        if len(vectors) < neighbours:
            raise ValueError(f"expected at least {neighbours} images as a background, but got {len(vectors)}")
        self.descriptor, self.vectors, self.neighbours = descriptor, vectors, neighbours

    def offsets(self, queries: Vectors) -> npt.NDArray[np.float64]:
        """Return, per query (Q, dimension), the mean similarity with its closest background images: (Q,)."""
        rows = []
        for start in range(0, len(queries), 256):
            block = self._similarities(queries[start : start + 256])
            rows.append(np.partition(block, -self.neighbours, axis=1)[:, -self.neighbours :].mean(axis=1))
        return np.concatenate(rows) if rows else np.zeros(0)

    def _similarities(self, queries: Vectors) -> npt.NDArray[np.float64]:
        if not self.descriptor.binary:
            return np.asarray(queries.astype(np.float32) @ self.vectors.astype(np.float32).T, dtype=np.float64)
        apart = np.bitwise_count(queries.astype(np.uint8)[:, None] ^ self.vectors.astype(np.uint8)[None]).sum(axis=2)
        return np.asarray(1 - apart / self.descriptor.dimension, dtype=np.float64)

    def normalised(self, queries: Vectors, similarities: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return similarities (Q,) of queries with something, each less its query's offset."""
        return np.asarray(similarities, dtype=np.float64) - self.offsets(queries)

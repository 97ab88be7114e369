"""Exact nearest-neighbour search with FAISS."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import faiss
import numpy as np
import numpy.typing as npt

from imgaudit.similarity.descriptors import Descriptor


class FlatMatch(NamedTuple):
    """One search result."""

    id: str
    similarity: float


class FlatIndex:
    """All vectors of one descriptor, searched exhaustively: IndexFlatIP for unit floats, IndexBinaryFlat for bits.

    >>> from imgaudit.similarity.descriptors import PixelDescriptor
    >>> import torch
    >>> descriptor = PixelDescriptor()
    >>> images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> index = FlatIndex(descriptor)
    >>> index.add(["a", "b", "c"], descriptor.describe(images))
    >>> index.search(descriptor.describe(images[1:2]), 1)[0][0].id
    'b'
    """

    def __init__(self, descriptor: Descriptor) -> None:
        self.descriptor = descriptor
        self.ids: list[str] = []
        kind = faiss.IndexBinaryFlat if descriptor.binary else faiss.IndexFlatIP
        self._index = kind(descriptor.dimension)

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, ids: Sequence[str], vectors: npt.NDArray[np.generic]) -> None:
        """Add one vector per id. Raises ValueError when their numbers differ."""
        if len(ids) != len(vectors):
            raise ValueError(f"expected one vector per id, but got {len(ids)} ids and {len(vectors)} vectors")
        if len(ids):
            self._index.add(self._prepare(vectors))
            self.ids.extend(ids)

    def search(self, queries: npt.NDArray[np.generic], k: int) -> list[list[FlatMatch]]:
        """Find the k nearest of every query, nearest first; fewer when the index holds fewer.

        A vector that is not finite is near nothing and is never found.
        """
        k = min(k, len(self.ids))
        if k == 0 or len(queries) == 0:
            return [[] for _ in queries]
        values, rows = self._index.search(self._prepare(queries), k)
        similarity = 1 - values / self.descriptor.dimension if self.descriptor.binary else values
        return [
            # FAISS fills with row -1 where it finds no more, as for vectors that are not finite.
            [FlatMatch(self.ids[row], float(value)) for value, row in zip(line, found, strict=True) if row >= 0]
            for line, found in zip(similarity, rows, strict=True)
        ]

    def _prepare(self, vectors: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the vectors as FAISS takes them; one that is not finite is NaN throughout, which is near nothing."""
        if not self.descriptor.binary:
            finite = np.isfinite(np.asarray(vectors, dtype=np.float32)).all(axis=1, keepdims=True)
            vectors = np.where(finite, vectors, np.float32("nan"))
        return np.ascontiguousarray(vectors)


def count_gpus() -> int:
    """Count the GPUs that faiss can use. Its GPU classes exist on machines without any, so only this tells."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "get_num_gpus") else 0

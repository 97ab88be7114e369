"""Exact nearest-neighbour search with FAISS."""

from collections.abc import Sequence
from typing import NamedTuple

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
            self._index.add(np.ascontiguousarray(vectors))
            self.ids.extend(ids)

    def search(self, queries: npt.NDArray[np.generic], k: int) -> list[list[FlatMatch]]:
        """Find the k nearest of every query, nearest first; fewer when the index holds fewer."""
        k = min(k, len(self.ids))
        if k == 0 or len(queries) == 0:
            return [[] for _ in queries]
        values, rows = self._index.search(np.ascontiguousarray(queries), k)
        similarity = 1 - values / self.descriptor.dimension if self.descriptor.binary else values
        return [
            [FlatMatch(self.ids[row], float(value)) for value, row in zip(line, found, strict=True)]
            for line, found in zip(similarity, rows, strict=True)
        ]

    def similarities(self, queries: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
        """Return the similarities (queries, vectors) of every query with every vector, in the order they were added."""
        found = np.empty((len(queries), len(self.ids)), dtype=np.float32)
        if not found.size:
            return found
        values, rows = self._index.search(np.ascontiguousarray(queries), len(self.ids))
        np.put_along_axis(found, rows, 1 - values / self.descriptor.dimension if self.descriptor.binary else values, 1)
        return found


class RangeIndex:
    """Float vectors searched exhaustively for all neighbours above a bound, known by their row.

    >>> index = RangeIndex(2)
    >>> index.add(np.eye(2, dtype=np.float32))
    >>> index.search(np.eye(2, dtype=np.float32)[:1], 0.5)
    [[(0, 1.0)]]
    """

    def __init__(self, dimension: int) -> None:
        self._index = faiss.IndexFlatIP(dimension)

    def add(self, vectors: npt.NDArray[np.float32]) -> None:
        """Add rows."""
        self._index.add(np.ascontiguousarray(vectors))

    def search(self, queries: npt.NDArray[np.float32], bound: float) -> list[list[tuple[int, float]]]:
        """Find, per query, the rows whose inner product is above a bound, highest first.

        Their number is not limited: queries in blocks keep memory in proportion to queries x rows.
        """
        limits, values, rows = self._index.range_search(np.ascontiguousarray(queries), bound)
        found = []
        for start, stop in zip(limits[:-1].tolist(), limits[1:].tolist(), strict=True):
            order = np.argsort(-values[start:stop], kind="stable") + start
            found.append(list(zip(rows[order].tolist(), values[order].tolist(), strict=True)))
        return found


def count_gpus() -> int:
    """Count the GPUs that faiss can use. Its GPU classes exist on machines without any, so only this tells."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "get_num_gpus") else 0

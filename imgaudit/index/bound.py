"""Pictures that could correlate above a level, told from a short vector of each: the cheap step before exact ones."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from imgaudit.similarity.descriptors import PixelDescriptor

MARGIN = 1e-3
"""Bounds are rounded, those from float16 by up to half of this, so that they are asked for a little less."""

COARSE, FINE = 8, 4
"""Sides of the squares of pixels of the two steps: 25 numbers of all vectors, then 97 of those that are left."""

COLUMNS = 2048
"""Vectors that are compared with all queries at once, or a few more: their products stay in the processor's cache."""

AXES: npt.NDArray[np.float32] = np.divide(
    [[1, 1, 1], [1, 0, -1], [1, -2, 1]], np.sqrt([[3], [2], [6]]), dtype=np.float32
)
"""Brightness and two directions of colour, at right angles and of length one, of red, green and blue."""

Vectors = npt.NDArray[np.float32]


def shorten(vectors: Vectors, block: int) -> Vectors:
    """Return short vectors whose inner product is never below that of the whole ones.

    vectors:  (N, 3072) float32, unit vectors of the pixel descriptor
    block:    side of the squares of pixels whose brightness is averaged, a divisor of 16; colours are averaged over
              squares of twice the side, as there is less in them

    The result is (N, 1.5 * (32 / block)**2 + 1) float32. All coordinates but one are the vector's share in an
    orthonormal set (means of blocks). The last is the length of what is left: by Cauchy and Schwarz, two rests multiply
    to no more than the product of their lengths.
    """
    axes: Vectors = AXES @ vectors.reshape(len(vectors), 3, -1)
    pictures = axes.reshape(-1, 3, PixelDescriptor.side, PixelDescriptor.side)
    low = np.concatenate([_average(pictures[:, :1], block), _average(pictures[:, 1:], 2 * block)], axis=1)
    rest = np.sqrt(np.maximum(0, (vectors**2).sum(axis=1) - (low**2).sum(axis=1)))
    return np.ascontiguousarray(np.concatenate([low, rest[:, None]], axis=1), dtype=np.float32)


def _average(pictures: Vectors, block: int) -> Vectors:
    """Return the coordinates (N, all blocks) along the unit vectors that are constant on one block."""
    count, channels, side, _ = pictures.shape
    blocks = pictures.reshape(count, channels, side // block, block, side // block, block)
    return np.asarray(blocks.sum(axis=(3, 5)).reshape(count, -1) / block)


class BoundIndex:
    """Short vectors of many pictures, searched for all that could correlate with another above a level.

    Of every vector 25 numbers are compared, and 97 of those that could be above the level by them. The 97 are kept in
    float16: each is off by 1/2048 of itself at most, and so is the sum of their products with those of a unit vector.

    >>> import torch
    >>> images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> vectors = PixelDescriptor().describe(images)
    >>> index = BoundIndex()
    >>> index.add(vectors)
    >>> len(index), 1 in [row for row, _ in index.search(vectors[1:2], 0.9, 10)[0]]
    (3, True)
    """

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._blocks, self._last = list[_Block](), list[_Block]()

    def __len__(self) -> int:
        return sum(len(block.coarse) for block in [*self._blocks, *self._last])

    def add(self, vectors: Vectors) -> None:
        """Add pictures by their whole vectors (N, 3072)."""
        self._last.append(_Block(shorten(vectors, COARSE), shorten(vectors, FINE).astype(np.float16)))
        if sum(len(block.coarse) for block in self._last) >= COLUMNS:
            self._close_block()

    def _close_block(self) -> None:
        """Put the last rows together; never all of them, which would take the memory of all once more."""
        if self._last:
            coarse, fine = zip(*self._last, strict=True)
            self._blocks.append(_Block(np.concatenate(coarse), np.concatenate(fine)))
            self._last = []

    def search(self, queries: Vectors, level: float, most: int) -> list[list[tuple[int, float]]]:
        """Find, per whole vector (Q, 3072), rows that could correlate above a level, with their bounds, highest first.

        most:  rows of one query; of more, those with the highest bounds
        """
        self._close_block()
        short, start = _Block(shorten(queries, COARSE), shorten(queries, FINE)), 0
        found = _Found(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
        for block in self._blocks:
            found = found.join(_find(short, block, level - MARGIN).shift(start), most)
            start += len(block.coarse)
        ends = np.searchsorted(found.query, np.arange(len(queries) + 1)).tolist()
        pairs = list(zip(found.row.tolist(), found.bound.tolist(), strict=True))
        return [pairs[start:stop] for start, stop in pairwise(ends)]


class _Block(NamedTuple):
    """Some vectors, shortened twice."""

    coarse: Vectors
    """(N, 25) float32."""
    fine: npt.NDArray[np.float32] | npt.NDArray[np.float16]
    """(N, 97)."""


def _find(queries: _Block, rows: _Block, level: float) -> "_Found":
    """Find the rows whose bounds are above a level, in order of query."""
    # Ten times as fast as looking for rows and columns, and nearly all are below.
    query, row = np.divmod(np.flatnonzero(queries.coarse @ rows.coarse.T > level), len(rows.coarse))
    left, place = np.unique(row, return_inverse=True)
    bounds = (queries.fine @ rows.fine[left].astype(np.float32).T)[query, place]
    above = bounds > level
    return _Found(query[above], row[above], bounds[above])


class _Found(NamedTuple):
    """Rows found for some queries, in order of query, highest bound first."""

    query: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    bound: Vectors

    def shift(self, start: int) -> "_Found":
        """Return the same with the numbers that rows have among all."""
        return self._replace(row=self.row + start)

    def join(self, others: "_Found", most: int) -> "_Found":
        """Return both together, with at most so many rows of one query."""
        if not len(others.query):
            return self
        query = np.concatenate([self.query, others.query])
        row, bound = np.concatenate([self.row, others.row]), np.concatenate([self.bound, others.bound])
        order = np.lexsort((row, -bound, query))
        query = query[order]
        kept = np.arange(len(query)) - np.searchsorted(query, query) < most
        return _Found(query[kept], row[order][kept], bound[order][kept])

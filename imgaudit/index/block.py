"""What a source gives at a time: vectors with their names, and what was left out."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from imgaudit.index.faiss_file import Vectors
from imgaudit.index.names import Names
from imgaudit.schema.records import SkippedImage

UNIT = 1e-3
"""Vectors whose length differs from one by more are scaled."""


@dataclass(frozen=True)
class Block:
    """Consecutive items of a source, dealt with."""

    names: Names
    """One per vector."""
    vectors: Vectors
    """(N, dimension) float32 of unit length, or (N, dimension / 8) uint8."""
    skipped: list[SkippedImage]
    """The rest, with the reasons."""
    scaled: int = 0
    """Vectors that were not of unit length."""

    @property
    def consumed(self) -> int:
        """Items of the source."""
        return len(self.names) + len(self.skipped)


class Source(Protocol):
    """Something that a collection is built from."""

    def blocks(self, start: int) -> Iterator[Block]:
        """Yield everything from item `start` on. The same source is always cut at the same places."""


def check_block(names: Names, vectors: npt.NDArray[np.generic], *, binary: bool, refuse_names: bool = True) -> Block:
    """Return a block of untrusted vectors without those that hold NaN or infinity or have dangerous names."""
    reasons = names.refused() if refuse_names else {}
    kept_vectors: Vectors = vectors
    uneven = np.zeros(len(vectors), dtype=bool)
    if not binary:
        floats = np.array(vectors, dtype=np.float32)
        kept_vectors = floats
        length = _measure_lengths(floats)
        for row in np.nonzero(~np.isfinite(length))[0].tolist():
            reasons.setdefault(row, "the vector holds NaN or infinity")
        uneven = np.isfinite(length) & (length > 0) & (np.abs(length - 1) > UNIT)
        floats[uneven] /= length[uneven, None].astype(np.float32)
    if not reasons:
        return Block(names, np.ascontiguousarray(kept_vectors), [], int(uneven.sum()))
    kept = np.ones(len(vectors), dtype=bool)
    kept[list(reasons)] = False
    return Block(
        names.kept(kept.tolist()),
        np.ascontiguousarray(kept_vectors[kept]),
        [
            SkippedImage(path=ascii(names.ids[row])[1:-1][:1000], skipped=reason)
            for row, reason in sorted(reasons.items())
        ],
        int((uneven & kept).sum()),
    )


def _measure_lengths(floats: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return each vector's length, in double precision where it is not one: a float32 square can overflow or vanish."""
    with np.errstate(over="ignore", invalid="ignore"):
        length = np.sqrt(np.einsum("nd,nd->n", floats, floats)).astype(np.float64)
    other = ~(np.abs(length - 1) <= UNIT)
    if other.any():
        length[other] = np.sqrt(np.einsum("nd,nd->n", floats[other], floats[other], dtype=np.float64))
    return np.asarray(length)

"""What a source gives at a time: vectors with their names, and what was left out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from imgaudit.index.faiss_file import Vectors
from imgaudit.index.idtable import Name, refused_name
from imgaudit.records import SkippedImage

UNIT = 1e-3
"""Vectors whose length differs from one by more are scaled."""


@dataclass(frozen=True)
class Block:
    """Consecutive items of a source, dealt with."""

    names: list[Name]
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
        """Everything from item `start` on. The same source is always cut at the same places."""


def checked_block(
    names: Sequence[Name], vectors: npt.NDArray[np.generic], *, binary: bool, refuse_names: bool = True
) -> Block:
    """A block of strangers' vectors: those with NaN or infinity and those with dangerous names are left out."""
    reasons: list[str | None] = [_refused(name) if refuse_names else None for name in names]
    scaled = 0
    kept_vectors: Vectors = vectors
    if not binary:
        floats = np.array(vectors, dtype=np.float32)
        kept_vectors = floats
        # Lengths in double precision: a float32 square can overflow.
        length = np.sqrt(np.einsum("nd,nd->n", floats, floats, dtype=np.float64))
        for row in np.nonzero(~np.isfinite(length))[0].tolist():
            reasons[row] = reasons[row] or "the vector holds NaN or infinity"
        uneven = np.isfinite(length) & (length > 0) & (np.abs(length - 1) > UNIT)
        floats[uneven] /= length[uneven, None].astype(np.float32)
        kept = np.array([reason is None for reason in reasons], dtype=bool)
        scaled = int((uneven & kept).sum())
    else:
        kept = np.array([reason is None for reason in reasons], dtype=bool)
    return Block(
        [name for name, reason in zip(names, reasons, strict=True) if reason is None],
        np.ascontiguousarray(kept_vectors if kept.all() else kept_vectors[kept]),
        [
            SkippedImage(path=ascii(name.id)[1:-1][:1000], skipped=reason)
            for name, reason in zip(names, reasons, strict=True)
            if reason is not None
        ],
        scaled,
    )


def _refused(name: Name) -> str | None:
    return next((f"its name {text[:200]!r} {why}" for text in name if (why := refused_name(text))), None)

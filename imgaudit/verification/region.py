"""A region of an image: a mask on a square grid over it, as run lengths, so that it is small and drawn at any size."""

from itertools import accumulate, groupby

import cv2
import numpy as np
import numpy.typing as npt

from imgaudit.exceptions import InputError
from imgaudit.records import Record

GRID = 64
"""Cells of a side of the grid."""

Mask = npt.NDArray[np.bool_]


class Box(Record):
    """A rectangle in fractions of the image's sides."""

    left: float
    """0 is the left edge."""
    top: float
    """0 is the upper edge."""
    right: float
    """1 is the right edge."""
    bottom: float
    """1 is the lower edge."""


class Region(Record):
    """Part of an image."""

    runs: tuple[int, ...]
    """Row by row from the upper left corner: how many cells are outside, then inside, then outside, and so on."""
    area: float
    """Share of the image's area inside."""
    box: Box | None
    """The smallest rectangle around it; None of an empty region."""

    @classmethod
    def of(cls, mask: Mask) -> "Region":
        """From a mask of any size that covers the image: a cell is inside when half of it is.

        >>> Region.of(np.eye(2, dtype=bool)).area
        0.5
        """
        small = cv2.resize(mask.astype(np.float32), (GRID, GRID), interpolation=cv2.INTER_AREA) >= 0.5
        flat = [bool(value) for value in small.ravel()]
        runs = [len(list(group)) for _, group in groupby(flat)]
        return cls(runs=tuple([0, *runs] if flat[0] else runs), area=float(small.mean()), box=_box(small))

    def mask(self) -> Mask:
        """(GRID, GRID) booleans. Raises InputError when the runs do not cover the grid exactly."""
        if any(run < 0 for run in self.runs) or sum(self.runs) != GRID * GRID:
            raise InputError(f"expected runs that cover {GRID} x {GRID} cells, got {sum(self.runs)} cells")
        flat = np.zeros(GRID * GRID, dtype=bool)
        ends = list(accumulate(self.runs))
        for start, end in zip(ends[::2], ends[1::2], strict=False):
            flat[start:end] = True
        return flat.reshape(GRID, GRID)

    def overlap(self, other: "Region") -> float:
        """Intersection over union with another region; 0 when both are empty."""
        left, right = self.mask(), other.mask()
        union = int((left | right).sum())
        return int((left & right).sum()) / union if union else 0.0


def _box(mask: Mask) -> Box | None:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return Box(
        left=float(columns[0]) / GRID, top=float(rows[0]) / GRID, right=float(columns[-1] + 1) / GRID,
        bottom=float(rows[-1] + 1) / GRID,
    )  # fmt: skip

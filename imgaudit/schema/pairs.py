"""The comparison of two images in parts: how one lies over the other, where they agree, and the thresholds.

These are records alone: a report is read without numpy, which is imported only where a mask is made. The measuring is
in :mod:`imgaudit.similarity.parts`.
"""

from itertools import accumulate, groupby
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from imgaudit.exceptions import InputError
from imgaudit.schema.measures import shows_whole
from imgaudit.schema.records import Legs, Record, Skipped

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]

Kind = Literal["copy", "partial", "unrelated"]

WHOLE = 0.8
"""A copy that agrees with the target on at least this share of its area shows the whole target, whatever else can be
compared in it."""


GRID = 64
"""Cells on each side of the grid."""


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
    def of(cls, mask: "Mask") -> "Region":
        """Make a region from a mask of any size that covers the image: a cell is inside when half of it is.

        >>> import numpy as np
        >>> Region.of(np.eye(2, dtype=bool)).area
        0.5
        """
        import numpy as np
        from PIL import Image

        shares = Image.fromarray(mask.astype(np.float32)).resize((GRID, GRID), Image.Resampling.BOX)
        small = np.asarray(shares) >= 0.5
        flat = [bool(value) for value in small.ravel()]
        runs = [len(list(group)) for _, group in groupby(flat)]
        return cls(runs=tuple([0, *runs] if flat[0] else runs), area=float(small.mean()), box=_box(small))

    def mask(self) -> "Mask":
        """Return the region as (GRID, GRID) booleans. Raises InputError when the runs do not cover the grid exactly."""
        if any(run < 0 for run in self.runs) or sum(self.runs) != GRID * GRID:
            raise InputError(f"expected runs that cover {GRID} x {GRID} cells, got {sum(self.runs)} cells")
        import numpy as np

        flat = np.zeros(GRID * GRID, dtype=bool)
        ends = list(accumulate(self.runs))
        for start, end in zip(ends[::2], ends[1::2], strict=False):
            flat[start:end] = True
        return flat.reshape(GRID, GRID)

    def overlap(self, other: "Region") -> float:
        """Return the intersection over union with another region, 0 to 1; 0 when both are empty."""
        left, right = self.mask(), other.mask()
        union = int((left | right).sum())
        return int((left & right).sum()) / union if union else 0.0


def _box(mask: "Mask") -> Box | None:
    import numpy as np

    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return Box(
        left=float(columns[0]) / GRID, top=float(rows[0]) / GRID, right=float(columns[-1] + 1) / GRID,
        bottom=float(rows[-1] + 1) / GRID,
    )  # fmt: skip


class Transform(Record):
    """The position of the candidate over the target."""

    mirrored: bool
    """True when left and right are exchanged."""
    scale: float
    """Longer side of the candidate, in longer sides of the target."""
    rotation: float
    """Degrees, clockwise on the screen, of the candidate after mirroring."""
    matrix: tuple[tuple[float, float, float], tuple[float, float, float]]
    """From fractions of the candidate's sides (x, y, 1) to fractions of the target's."""


class PairEvidence(Record):
    """Both legs of the comparison of one pair."""

    geometric: float
    """-log10 of how likely chance puts as many features in their places; 0 without a map."""
    photometric: float
    """Textured patches that agree under the map, in patches that do not overlap."""
    inliers: int
    """Distinct places that the map brings together."""
    matches: int
    """Pairs of like features that were tried, in the orientation that was chosen."""
    transform: Transform | Skipped
    """Position of the candidate over the target."""
    region: Region
    """Area of the target where the two agree."""
    candidate_region: Region
    """The same place in the candidate."""
    target_share: float | None = Field(None, exclude_if=lambda value: value is None)
    """Share of what can be compared in the target that agrees; absent where it was not measured."""
    candidate_share: float | None = Field(None, exclude_if=lambda value: value is None)
    """The same of the candidate."""

    @property
    def is_whole(self) -> bool:
        """True when the candidate shows the whole target: mirrored, moved, enlarged or cropped."""
        return shows_whole(self.target_share, self.candidate_share) or self.region.area >= WHOLE

    @property
    def legs(self) -> Legs:
        """Both numbers alone."""
        return Legs(geometric=self.geometric, photometric=self.photometric)


class PairThresholds(Record):
    """The thresholds that unrelated pairs set: a pair must exceed both."""

    geometric: float
    """Threshold of the geometric leg."""
    photometric: float
    """Threshold of the photometric leg."""
    level: float
    """Share of unrelated pairs that may exceed both."""
    pairs: int
    """Unrelated pairs they come from."""
    each: float | None = None
    """Share of unrelated pairs that may exceed either leg's alone; None where `level` holds for each leg."""

    def exceeded_by(self, legs: Legs) -> bool:
        """Say whether both legs are strictly above their thresholds."""
        return legs.geometric > self.geometric and legs.photometric > self.photometric


def classify(evidence: PairEvidence, thresholds: PairThresholds) -> Kind:
    """Call a pair "copy", "partial" or "unrelated".

    It is a copy or partial when both legs exceed their thresholds: a copy when the candidate shows the whole target.
    """
    if not thresholds.exceeded_by(evidence.legs):
        return "unrelated"
    return "copy" if evidence.is_whole else "partial"

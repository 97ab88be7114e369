"""The result of comparing a portfolio with images that a hosted model made; match.json holds it."""

from typing import Literal

from pydantic import AliasChoices, Field

from imgaudit.schema.pairs import PairEvidence, PairThresholds
from imgaudit.schema.records import Record, Skipped, SkippedImage

Seen = Literal["copy", "partial", "not seen", "inconclusive"]


class ClosestImage(Record):
    """The given image that follows a target most closely."""

    path: str
    """Its file."""
    id: str
    """First 16 digits of its SHA-256."""
    evidence: PairEvidence
    """Both legs, and where."""


class TargetMatch(Record):
    """The result for one target."""

    id: str
    """First 16 digits of its SHA-256."""
    path: str
    """Its file."""
    sha256: str
    """SHA-256 of its file."""
    seen: Seen
    """A copy of the whole, of part of it, neither, or no conclusion."""
    reason: str
    """In one sentence, with its numbers."""
    images: int
    """Number of given images that exceed both thresholds with it."""
    p_value: float | Skipped
    """The larger of both legs', each of the closest image against the closest images of the decoys."""
    q_value: float | Skipped
    """Over the portfolio."""
    closest: ClosestImage | Skipped
    """The image with the highest geometric score."""


class MatchResult(Record):
    """The result for all targets."""

    images_folder: str
    """Name of the folder with the given images."""
    images: int
    """Number of images that could be read."""
    decoys: int
    """Number of unrelated images (decoys), each compared with every image."""
    level: float
    """False discovery rate, and level of the thresholds."""
    thresholds: PairThresholds | Skipped
    """The scores that the closest images of decoys reach."""
    targets: list[TargetMatch] = Field(validation_alias=AliasChoices("targets", "sightings"))
    """One per target that could be read; `sightings` in files of older versions."""
    skipped: list[SkippedImage]
    """Images, targets and decoys that were not compared, with the reasons."""
    versions: dict[str, str]
    """Versions of the packages that the numbers depend on."""

    def count(self, seen: Seen) -> int:
        """Return the number of targets with a result."""
        return sum(one.seen == seen for one in self.targets)

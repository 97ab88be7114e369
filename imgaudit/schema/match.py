"""The result of comparing a portfolio with images that a hosted model made; match.json holds it.

A given image can follow a target in two ways: in parts (`imgaudit.schema.pairs`), or as a whole picture.
"""

from typing import Literal

from pydantic import AliasChoices, Field

from imgaudit.schema.pairs import PairEvidence, PairThresholds
from imgaudit.schema.records import Legs, Record, Skipped, SkippedImage

Seen = Literal["copy", "partial", "not seen", "inconclusive"]

LEAST_SIMILARITY = 0.6
"""Correlation of detail below which whole pictures are not alike, however little decoys are. Chosen on the lab
`fit-128`, whose replicas of whole pictures all exceed it."""

WHOLE_SIMILARITY = 0.8
"""Correlation of detail from which on a picture that is alike as a whole is a copy of the whole. Between the two it is
a partial one: in the lab `fit-128`, pictures that only share their layout stay below."""


class PairScore(Legs):
    """A given image compared with a target or decoy, in parts and as a whole picture."""

    similarity: float
    """As a whole picture, -1 to 1, higher = closer; see imgaudit.similarity.whole."""
    worst_quarter: float
    """The same of the quarter that agrees least."""


class WholeThresholds(Record):
    """What a given image has to exceed, in both numbers, to be found as a whole picture."""

    similarity: float
    """Threshold of the similarity."""
    worst_quarter: float
    """Threshold of the quarter that agrees least."""

    def exceeded_by(self, score: PairScore) -> bool:
        """Say whether both numbers are strictly above their thresholds."""
        return score.similarity > self.similarity and score.worst_quarter > self.worst_quarter


class ClosestImage(Record):
    """The given image that follows a target most closely."""

    path: str
    """Its file."""
    id: str
    """First 16 digits of its SHA-256."""
    evidence: PairEvidence
    """Both legs of the comparison in parts, and where."""
    similarity: float | None = None
    """Similarity as a whole picture, -1 to 1; None in files of older versions."""
    worst_quarter: float | None = None
    """The same of the quarter that agrees least."""


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
    """Number of given images that exceed the thresholds with it, in parts or as a whole picture."""
    p_value: float | Skipped
    """Of the closest images, in parts and as a whole together, against the closest images of the decoys."""
    q_value: float | Skipped
    """Over the portfolio."""
    closest: ClosestImage | Skipped
    """The image with the highest geometric score, or the one most alike as a whole, whichever is more unusual."""
    by: Literal["parts", "whole"] = "parts"
    """The comparison in which the closest image is the closest."""


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
    """The scores in parts that the closest images of decoys reach."""
    whole_thresholds: WholeThresholds | Skipped = Skipped(skipped="whole pictures were not compared")
    """The similarity that the closest images of decoys reach as whole pictures."""
    targets: list[TargetMatch] = Field(validation_alias=AliasChoices("targets", "sightings"))
    """One per target that could be read; `sightings` in files of older versions."""
    skipped: list[SkippedImage]
    """Images, targets and decoys that were not compared, with the reasons."""
    versions: dict[str, str]
    """Versions of the packages that the numbers depend on."""

    def count(self, seen: Seen) -> int:
        """Return the number of targets with a result."""
        return sum(one.seen == seen for one in self.targets)

"""Is a candidate a copy of a target, or of part of it: where, and how much? Two independent legs must agree."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch

from imgaudit.records import Record, Skipped
from imgaudit.statistics import joint_exceedance_thresholds
from imgaudit.verification.geometry import Features, find_features, fit, turn_and_scale
from imgaudit.verification.photometric import SIDE, Agreement, agreement
from imgaudit.verification.picture import WORKING_SIDE, Floats, Picture, fraction_map, scaled_map
from imgaudit.verification.region import Mask, Region

Kind = Literal["copy", "partial", "unrelated"]

WHOLE = 0.8
"""Share of the target's area from which on a copy is called one of the whole target."""


class Transform(Record):
    """How the candidate lies over the target."""

    mirrored: bool
    """Whether left and right are exchanged."""
    scale: float
    """Longer side of the candidate, in longer sides of the target."""
    rotation: float
    """Degrees, clockwise on the screen, of the candidate after mirroring."""
    matrix: tuple[tuple[float, float, float], tuple[float, float, float]]
    """From fractions of the candidate's sides (x, y, 1) to fractions of the target's."""


class PairEvidence(Record):
    """What both legs say of one pair."""

    geometric: float
    """-log10 of how likely chance puts as many features in their places; 0 without a map."""
    photometric: float
    """Textured patches that agree under the map, in patches that do not overlap."""
    inliers: int
    """Distinct places that the map brings together."""
    matches: int
    """Pairs of like features that were tried, in the orientation that was chosen."""
    transform: Transform | Skipped
    """How the candidate lies over the target."""
    region: Region
    """Where the two agree, in the target."""
    candidate_region: Region
    """The same place in the candidate."""


class PairThresholds(Record):
    """What unrelated pairs reach: a pair must exceed both."""

    geometric: float
    """Of the geometric leg."""
    photometric: float
    """Of the photometric leg."""
    level: float
    """Share of unrelated pairs that may exceed both."""
    pairs: int
    """Unrelated pairs they come from."""
    each: float | None = None
    """Share of unrelated pairs that may exceed either leg's alone; None where `level` holds for each leg."""

    @classmethod
    def from_unrelated(cls, evidences: Iterable[PairEvidence], level: float) -> "PairThresholds":
        """From pairs that share nothing: at most a share `level` of exchangeable pairs exceeds both thresholds.

        Both legs get one and the same share of their own, `each`, as large as `level` together allows
        (`imgaudit.statistics.joint_exceedance_thresholds`). Infinite when the pairs are too few for the level.
        """
        pairs = list(evidences)
        joint = joint_exceedance_thresholds(
            [pair.geometric for pair in pairs], [pair.photometric for pair in pairs], level
        )
        return cls(geometric=joint.first, photometric=joint.second, level=level, pairs=len(pairs), each=joint.each)


def classify(evidence: PairEvidence, thresholds: PairThresholds, *, whole: float = WHOLE) -> Kind:
    """`copy` or `partial` when both legs exceed their thresholds, by the share of the target that agrees."""
    if evidence.geometric <= thresholds.geometric or evidence.photometric <= thresholds.photometric:
        return "unrelated"
    return "copy" if evidence.region.area >= whole else "partial"


@dataclass(frozen=True)
class Described:
    """A picture with its features and those of its mirror image: what a pair needs, computed once."""

    picture: Picture
    """At the working size."""
    features: Features
    """Local features; those of its mirror image follow from them."""

    @classmethod
    def of(cls, image: torch.Tensor) -> "Described":
        """From (3, H, W) in [-1, 1]. Raises InputError for other shapes and for numbers that are not finite."""
        picture = Picture.of(image)
        return cls(picture, find_features(picture))


def verify(target: torch.Tensor, candidate: torch.Tensor) -> PairEvidence:
    """What both legs say of two images (3, H, W) in [-1, 1], of any sizes.

    Raises InputError for other shapes and for numbers that are not finite.
    """
    return compare(Described.of(target), Described.of(candidate))


def verify_many(target: torch.Tensor, candidates: Sequence[torch.Tensor]) -> list[PairEvidence]:
    """One target against many candidates; the target is described once."""
    described = Described.of(target)
    return [compare(described, Described.of(candidate)) for candidate in candidates]


def compare(target: Described, candidate: Described) -> PairEvidence:
    """What both legs say of two described pictures."""
    direct = fit(target.features, candidate.features)
    turned = fit(target.features, candidate.features.mirrored())
    mirrored = turned.score > direct.score
    found = turned if mirrored else direct
    if found.matrix is None:
        empty = Region.of(np.zeros((1, 1), dtype=bool))
        return PairEvidence(
            geometric=0.0, photometric=0.0, inliers=0, matches=found.matches,
            transform=Skipped(skipped="no map brings enough features together"), region=empty, candidate_region=empty,
        )  # fmt: skip
    matrix = found.matrix @ _mirror(candidate.picture.width) if mirrored else found.matrix
    agreed = agreement(target.picture, candidate.picture, matrix)
    return PairEvidence(
        geometric=found.score, photometric=agreed.score, inliers=found.inliers, matches=found.matches,
        transform=_transform(target.picture, candidate.picture, matrix, mirrored=mirrored),
        region=Region.of(agreed.region), candidate_region=Region.of(_carried(agreed, candidate.picture)),
    )  # fmt: skip


def _mirror(width: int) -> Floats:
    """(3, 3) map of a picture's pixel centres to those of its mirror image."""
    return np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


def _transform(target: Picture, candidate: Picture, matrix: Floats, *, mirrored: bool) -> Transform:
    sign = -1 if mirrored else 1
    rotation, scale = turn_and_scale(matrix * [sign, 1, 1])
    fractions = fraction_map(matrix, target, candidate)
    return Transform(mirrored=mirrored, scale=scale, rotation=rotation, matrix=(_row(fractions[0]), _row(fractions[1])))


def _row(values: Floats) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


def _carried(agreed: Agreement, candidate: Picture) -> Mask:
    """The region, in the candidate."""
    matrix = scaled_map(agreed.matrix, SIDE / WORKING_SIDE, 1.0)
    back = cv2.warpAffine(
        agreed.region.astype(np.uint8), matrix, (candidate.width, candidate.height),
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
    )  # fmt: skip
    return np.asarray(back > 0)

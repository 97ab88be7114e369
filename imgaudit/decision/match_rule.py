"""How a match is concluded: the closest of the given images, in parts and as whole pictures, against those of decoys.

Drawings with few local features are not found in parts even where the whole picture comes back; a part in another
picture is not found as a whole. So both are looked at. Their thresholds share the level: at most half of it of the
decoys exceeds either, so that at most the level exceeds any (Bonferroni). The p-value is the joint one of
`imgaudit.decision.joint_test`, which ranks a target among the decoys by both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

from imgaudit.decision.joint_test import JointNull
from imgaudit.decision.pair_nulls import fit_leg_thresholds, leg_p_value
from imgaudit.schema.match import LEAST_SIMILARITY, WHOLE_SIMILARITY, PairScore, WholeThresholds
from imgaudit.schema.pairs import PairThresholds
from imgaudit.schema.records import Legs, Skipped
from imgaudit.statistics import conformal_p_value, controls_needed, exceedance_threshold


class Closest(NamedTuple):
    """The images that follow one target or decoy most closely."""

    parts: PairScore
    """Of the image that does in parts."""
    whole: PairScore
    """Of the image that does as a whole picture; it can be another one."""


@dataclass(frozen=True)
class MatchRule:
    """Thresholds and null of one search."""

    thresholds: PairThresholds | Skipped
    """Scores in parts that an image has to exceed."""
    whole_thresholds: WholeThresholds | Skipped
    """Similarity as a whole picture that an image has to exceed."""
    nulls: Sequence[Closest]
    """Of every decoy."""

    @classmethod
    def fit(cls, nulls: Sequence[Closest], level: float) -> "MatchRule":
        """Set thresholds that at most a share `level` of decoys exceeds, in parts or as a whole.

        Decoys that are too few for half the level are compared in parts alone, at the whole level.
        """
        needed = controls_needed(1, 1, level / 2)
        parts = [one.parts for one in nulls]
        if len(nulls) < needed:
            few = Skipped(skipped=f"{len(nulls)} decoys are too few for whole pictures: {needed} are needed")
            return cls(fit_leg_thresholds(parts, level, "decoys"), few, nulls)
        similarity, worst_quarter = (
            exceedance_threshold(values, level / 2)
            for values in ([one.whole.similarity for one in nulls], [one.whole.worst_quarter for one in nulls])
        )
        whole = WholeThresholds(similarity=max(LEAST_SIMILARITY, similarity), worst_quarter=worst_quarter)
        return cls(fit_leg_thresholds(parts, level / 2, "decoys"), whole, nulls)

    @property
    def compares_whole(self) -> bool:
        """True when whole pictures count too."""
        return not isinstance(self.whole_thresholds, Skipped)

    def p_value(self, own: Closest) -> float | Skipped:
        """Return the conformal p-value of a target; with D decoys at least 1 / (D + 1)."""
        if not self.nulls:
            return Skipped(skipped="no decoys: give --decoys DIR")
        if not self.compares_whole:
            return leg_p_value(own.parts, [one.parts for one in self.nulls])
        return float(self._joint_null.p_values(np.array([_legs(own)]))[0])

    @cached_property
    def _joint_null(self) -> JointNull:
        """The decoys by both comparisons, sorted once for all targets."""
        return JointNull(np.array([_legs(one) for one in self.nulls]))

    def choose(self, own: Closest) -> Literal["parts", "whole"]:
        """Say by which comparison a target's closest image is the more unusual one; in parts where both are alike.

        An image that is found in parts is shown by them, as they say where.
        """
        if not self.compares_whole or self.finds_parts(own.parts):
            return "parts"
        whole = max(
            conformal_p_value(own.whole.similarity, [one.whole.similarity for one in self.nulls]),
            conformal_p_value(own.whole.worst_quarter, [one.whole.worst_quarter for one in self.nulls]),
        )
        by_parts = leg_p_value(own.parts, [one.parts for one in self.nulls])
        return "whole" if self.finds_whole(own.whole) or whole < by_parts else "parts"

    def finds_parts(self, score: Legs) -> bool:
        """Say whether an image exceeds both thresholds in parts."""
        return not isinstance(self.thresholds, Skipped) and self.thresholds.exceeded_by(score)

    def finds_whole(self, score: PairScore) -> bool:
        """Say whether an image exceeds both thresholds as a whole picture."""
        return not isinstance(self.whole_thresholds, Skipped) and self.whole_thresholds.exceeded_by(score)

    def finds_copy_of_whole(self, score: PairScore) -> bool:
        """Say whether an image is found as a whole picture, and is as alike as a copy of the whole is."""
        return self.finds_whole(score) and score.similarity >= WHOLE_SIMILARITY

    def finds(self, score: PairScore) -> bool:
        """Say whether an image is found by either."""
        return self.finds_parts(score) or self.finds_whole(score)


def _legs(one: Closest) -> list[tuple[float, float]]:
    return [(one.parts.geometric, one.parts.photometric), (one.whole.similarity, one.whole.worst_quarter)]

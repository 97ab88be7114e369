"""Thresholds and p-values for comparisons in parts, from pairs of images that share nothing.

A target is compared with many candidates, and so is every control. On both sides only the closest candidate counts.
"""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from imgaudit.schema.pairs import PairEvidence, PairThresholds
from imgaudit.schema.records import Legs, Skipped
from imgaudit.statistics import conformal_p_value, controls_needed, exceedance_threshold, joint_exceedance_thresholds

Compared = TypeVar("Compared", bound=Legs)


def find_closest(candidates: Iterable[Compared]) -> Compared | None:
    """Return the candidate with the highest geometric leg, ties to the higher photometric one; None without any."""
    return max(candidates, key=lambda legs: (legs.geometric, legs.photometric), default=None)


def fit_leg_thresholds(nulls: Sequence[Legs], level: float, what: str) -> PairThresholds | Skipped:
    """Set the threshold of each leg so that at most a share `level` of the nulls exceeds it.

    nulls:    the closest candidate of every control or decoy
    what:     word for the nulls in the plural ("controls"), for the reason in Skipped
    Returns   Skipped when there are too few nulls for the level
    """
    needed = controls_needed(1, 1, level)
    if len(nulls) < needed:
        return Skipped(skipped=f"{len(nulls)} {what} are too few: {needed} are needed")
    return PairThresholds(
        geometric=exceedance_threshold([one.geometric for one in nulls], level),
        photometric=exceedance_threshold([one.photometric for one in nulls], level),
        level=level, pairs=len(nulls),
    )  # fmt: skip


def fit_joint_thresholds(unrelated: Iterable[PairEvidence], level: float) -> PairThresholds:
    """Set thresholds that at most a share `level` of exchangeable pairs exceeds on both legs.

    Each leg gets the same share of its own, `each`, as large as `level` together allows
    (`imgaudit.statistics.joint_exceedance_thresholds`). The thresholds are infinite when there are too few pairs.

    unrelated:  pairs of images that share nothing
    """
    pairs = list(unrelated)
    joint = joint_exceedance_thresholds([pair.geometric for pair in pairs], [pair.photometric for pair in pairs], level)
    return PairThresholds(
        geometric=joint.first, photometric=joint.second, level=level, pairs=len(pairs), each=joint.each
    )


def leg_p_value(own: Legs, nulls: Sequence[Legs]) -> float:
    """Return the larger of both legs' conformal p-values, which is valid because each of them is.

    >>> null = Legs(geometric=1.0, photometric=0.0)
    >>> leg_p_value(Legs(geometric=9.0, photometric=0.0), [null, null, null])
    1.0
    """
    return max(
        conformal_p_value(own.geometric, [one.geometric for one in nulls]),
        conformal_p_value(own.photometric, [one.photometric for one in nulls]),
    )

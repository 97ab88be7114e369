"""How often a rung returned at least a part of an image, against the controls' parts.

Whole copies and parts are two families of claims: the share of false discoveries is held in either.
"""

from collections.abc import Sequence
from typing import NamedTuple

from imgaudit.decision.null_bank import CopyThresholds, NullBank
from imgaudit.decision.pair_nulls import closest, fit_leg_thresholds, leg_p_value
from imgaudit.decision.replication import NO_CONTROLS, Evidence, measure_hit_rate, replicates
from imgaudit.schema.findings import NOT_IN_PARTS, PartReplication
from imgaudit.schema.pairs import PairThresholds
from imgaudit.schema.records import TEXT_RUNGS, Legs, Measurement, PartMatch, Replica, Rung, RungMeasurement, Skipped
from imgaudit.statistics import clopper_pearson

NULL_WITHOUT_PARTS = "the null bank holds no comparisons in parts: calibrate again"


def closest_part(measured: RungMeasurement) -> tuple[Replica, PartMatch] | None:
    """The generated image that follows the target most closely in parts, and how; None when none was compared so."""
    compared = [(replica, replica.part) for replica in measured.replicas if replica.part is not None]
    best = closest([part for _, part in compared])
    return next(((replica, part) for replica, part in compared if part is best), None)


class PartNull(NamedTuple):
    """What the parts of one rung are judged by: the same for every image."""

    nulls: list[Legs]
    """Of every control, the closest seed."""
    thresholds: PairThresholds | Skipped
    """What both legs must exceed."""
    control_rate: float | Skipped
    """Mean rate among controls at these thresholds."""


def build_part_null(bank: NullBank | None, rung: Rung, level: float) -> PartNull:
    """The null of a rung's parts; without comparisons in parts of controls, nothing but the reason."""
    null_rung = bank.part_rung(rung) if bank else None
    if bank is None or null_rung is None:
        missing = Skipped(skipped=NULL_WITHOUT_PARTS if bank and bank.controls else NO_CONTROLS)
        return PartNull([], missing, missing)
    nulls = bank.part_nulls(null_rung)
    thresholds = fit_leg_thresholds(nulls, level, "controls")
    rate = thresholds if isinstance(thresholds, Skipped) else bank.part_rate(null_rung, thresholds)
    return PartNull(nulls, thresholds, rate)


def measure_part(measurement: Measurement, rung: Rung, evidence: Evidence, null: PartNull) -> PartReplication | Skipped:
    """One rung of one image, before it is corrected for the ladder and the folder; `stands` is not decided yet."""
    measured = measurement.ladder(rung)
    assert isinstance(measured, RungMeasurement)
    found = closest_part(measured)
    if found is None:
        return NOT_IN_PARTS
    replica, part = found
    thresholds = null.thresholds
    beyond = [
        one.part is not None and isinstance(thresholds, PairThresholds) and thresholds.exceeded_by(one.part)
        for one in measured.replicas
    ]
    rate = measure_hit_rate(measured, evidence.protocol, beyond)
    interval = clopper_pearson(rate.hits, rate.n, rate.confidence)
    return PartReplication(
        n=rate.n, hits=rate.hits, low=interval.low, high=interval.high, closest=part, path=replica.path,
        seed=replica.seed, p_value=_p_value(part, null, rung, evidence),
        q_value=Skipped(skipped="rungs inverted from the image are gated by the score"), stands=False,
        alone=_part_alone(measured, beyond, evidence.rung_thresholds(rung)),
        thresholds=thresholds, control_rate=null.control_rate,
    )  # fmt: skip


def _part_alone(measured: RungMeasurement, beyond: Sequence[bool], copy_thresholds: CopyThresholds | Skipped) -> bool:
    """Whether what makes every copy of a rung one is explained by a part of it."""
    copies = [
        (replica, part) for replica, part in zip(measured.replicas, beyond, strict=True)
        if replicates(replica, copy_thresholds)
    ]  # fmt: skip
    return all(part and _unlike_outside(replica.part, copy_thresholds) for replica, part in copies)


def _unlike_outside(part: PartMatch | None, thresholds: CopyThresholds | Skipped) -> bool:
    if part is None or isinstance(part.rest, Skipped) or isinstance(thresholds, Skipped):
        return False
    return part.rest <= thresholds.similarity


def _p_value(part: PartMatch, null: PartNull, rung: Rung, evidence: Evidence) -> float | Skipped:
    if not null.nulls:
        assert isinstance(null.thresholds, Skipped)
        return null.thresholds
    if rung in TEXT_RUNGS and not evidence.captions_comparable:
        return Skipped(skipped="captions of targets and controls differ without the model")
    return leg_p_value(part, null.nulls)

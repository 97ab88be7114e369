"""How often a rung returned at least a part of an image, compared with parts of controls.

Parts count in the test of their image (`imgaudit.decision.joint_test`), so one level holds for parts and whole copies.
"""

from collections.abc import Sequence
from typing import NamedTuple

from imgaudit.decision.copy_thresholds import CopyThresholds
from imgaudit.decision.joint_test import correct_for_texts
from imgaudit.decision.null_bank import NullBank
from imgaudit.decision.pair_nulls import find_closest, fit_leg_thresholds, leg_p_value
from imgaudit.decision.replication import NO_CONTROLS, Evidence, measure_hit_rate, replicates
from imgaudit.schema.error_checks import NOT_IN_PARTS
from imgaudit.schema.pairs import PairThresholds
from imgaudit.schema.records import TEXT_RUNGS, Legs, Measurement, PartMatch, Replica, Rung, RungMeasurement, Skipped
from imgaudit.schema.replication import PartReplication
from imgaudit.statistics import clopper_pearson

NULL_WITHOUT_PARTS = "the null bank was made without comparisons in parts: calibrate again"


def find_closest_part(measured: RungMeasurement) -> tuple[Replica, PartMatch] | None:
    """Return the generated image that is closest in parts, with the comparison; None when none was compared."""
    compared = [(replica, replica.part) for replica in measured.replicas if replica.part is not None]
    best = find_closest([part for _, part in compared])
    return next(((replica, part) for replica, part in compared if part is best), None)


class PartNull(NamedTuple):
    """Controls' results that parts returned by one rung are compared with; the same for every image."""

    nulls: list[Legs]
    """The closest generated image of every control."""
    thresholds: PairThresholds | Skipped
    """Thresholds that both legs must exceed."""
    control_rate: float | Skipped
    """Mean rate of controls at these thresholds."""


def build_part_null(bank: NullBank | None, rung: Rung, level: float) -> PartNull:
    """Collect what a rung's parts are compared with; Skipped with the reason without controls compared in parts."""
    null_rung = bank.part_rung(rung) if bank else None
    if bank is None or null_rung is None:
        missing = Skipped(skipped=NULL_WITHOUT_PARTS if bank and bank.controls else NO_CONTROLS)
        return PartNull([], missing, missing)
    nulls = bank.part_nulls(null_rung)
    thresholds = fit_leg_thresholds(nulls, level, "controls")
    rate = thresholds if isinstance(thresholds, Skipped) else bank.part_rate(null_rung, thresholds)
    return PartNull(nulls, thresholds, rate)


def measure_part(measurement: Measurement, rung: Rung, evidence: Evidence, null: PartNull) -> PartReplication | Skipped:
    """Count the parts that one rung returned of one image.

    The p-value is not yet corrected for the ladder and the folder, and `stands` is not yet decided.
    """
    measured = measurement.ladder(rung)
    assert isinstance(measured, RungMeasurement)
    found = find_closest_part(measured)
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
    whole = [
        passes and one.part is not None and one.part.is_whole
        for one, passes in zip(measured.replicas, beyond, strict=True)
    ]
    return PartReplication(
        n=rate.n, hits=rate.hits, low=interval.low, high=interval.high, closest=part, path=replica.path,
        seed=replica.seed, p_value=_p_value(part, null, rung, evidence, len(measured.texts)),
        q_value=Skipped(skipped="not yet tested"), stands=False,
        alone=_part_alone(measured, beyond, evidence.rung_thresholds(rung)),
        thresholds=thresholds, control_rate=null.control_rate,
        whole=measure_hit_rate(measured, evidence.protocol, whole).hits,
    )  # fmt: skip


def _part_alone(measured: RungMeasurement, beyond: Sequence[bool], copy_thresholds: CopyThresholds | Skipped) -> bool:
    """Say whether every copy of a rung is explained by a part of the image."""
    copies = [
        (replica, part) for replica, part in zip(measured.replicas, beyond, strict=True)
        if replicates(replica, copy_thresholds)
    ]  # fmt: skip
    return all(part and _unlike_outside(replica.part, copy_thresholds) for replica, part in copies)


def _unlike_outside(part: PartMatch | None, thresholds: CopyThresholds | Skipped) -> bool:
    if part is None or isinstance(part.rest, Skipped) or isinstance(thresholds, Skipped):
        return False
    return part.rest <= thresholds.similarity


def _p_value(part: PartMatch, null: PartNull, rung: Rung, evidence: Evidence, texts: int) -> float | Skipped:
    if not null.nulls:
        assert isinstance(null.thresholds, Skipped)
        return null.thresholds
    if rung in TEXT_RUNGS and not evidence.captions_comparable:
        return Skipped(skipped="captions of targets and controls differ without the model")
    p_value = leg_p_value(part, null.nulls)
    return correct_for_texts(p_value, texts, evidence.bank.count_texts(rung)) if evidence.bank else p_value

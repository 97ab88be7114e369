"""How often a rung reproduced an image, compared with the controls and with coincidence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import ceil, isfinite
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from imgaudit.decision.coincidence import CrossMatches
from imgaudit.decision.copy_thresholds import ABSOLUTE_STANDARD, CopyThresholds, controls_to_place
from imgaudit.decision.joint_test import JointNull, correct_for_texts
from imgaudit.decision.null_bank import NullBank
from imgaudit.schema.measures import DECIDING_DESCRIPTOR, DECIDING_DISTANCE, find_copy_similarity
from imgaudit.schema.model_checks import ModelCheck
from imgaudit.schema.policy import Policy
from imgaudit.schema.protocol import Protocol
from imgaudit.schema.records import (
    REPORTED_RUNGS,
    TEXT_RUNGS,
    Measurement,
    Replica,
    Rung,
    RungMeasurement,
    Skipped,
    StreamReplica,
    is_at_most,
)
from imgaudit.schema.replication import PartReplication, Replication, StreamRate
from imgaudit.statistics import clopper_pearson, conformal_p_values, upper_bound

CAPTIONS_DIFFER = Skipped(skipped="captions of targets and controls differ without the model")
"""The reason why nothing that a text gave is compared with the controls'."""

NO_CONTROLS = "no controls"
"""The reason in place of every number that needs controls; pages say once how to give some."""


class RungNull(NamedTuple):
    """The controls' results that one rung of a target is compared with."""

    rung: Rung
    """Rung of the controls."""
    maxima: Sequence[float]
    """Best similarity of every control, sorted."""
    joint: JointNull | None
    """The same by the legs of the policy, for images that the copy descriptor was measured on; None where it has no
    part."""
    control_rate: float | Skipped
    """Mean over controls of the share of their seeds that count as copies."""
    texts: int
    """Texts that the controls were asked with on the target's rung; 0 when most were not asked."""


@dataclass(frozen=True)
class Evidence:
    """Everything that decides a folder's verdicts, apart from the measurements."""

    bank: NullBank | None
    """The null bank, if there is one."""
    protocol: Protocol
    """The protocol by which every image was measured."""
    policy: Policy = field(default_factory=Policy)
    """The policy that turns measurements into verdicts."""
    near_duplicates: Mapping[str, Sequence[tuple[str, float]]] = field(default_factory=dict)
    """For each target, its near copies in the folder as id and similarity."""
    groups: Sequence[Sequence[str]] = ()
    """Near-duplicates that count as one work, the representative first; chosen before any score."""
    cross_matches: Mapping[Rung, CrossMatches] = field(default_factory=dict)
    """For each rung, its generated images compared with all targets and decoys."""
    model_checks: Sequence[ModelCheck] = ()
    """Checks of the model before the audit; none for runs made before models were checked."""
    copy_descriptor: str = ""
    """Name and origin of the copy descriptor that the images were compared with; empty without one."""
    captions_comparable: bool = True
    """True when text rungs may be compared with the controls': the blind baseline of captions raised no alarm."""

    @cached_property
    def _control_thresholds(self) -> CopyThresholds | None:
        return self.bank.thresholds(self.policy.copy_level) if self.bank else None

    @cached_property
    def _nulls(self) -> dict[Rung, RungNull | None]:
        return {}

    def rung_null(self, rung: Rung) -> RungNull | None:
        """Return what a rung is compared with; the same for every image, so it is collected once. None without any."""
        if rung not in self._nulls:
            bank, null_rung = self.bank, self.bank.null_rung(rung) if self.bank else None
            self._nulls[rung] = None
            if bank is not None and null_rung is not None:
                thresholds = self.rung_thresholds(rung)
                rate = thresholds if isinstance(thresholds, Skipped) else bank.control_rate(null_rung, thresholds)
                self._nulls[rung] = RungNull(
                    null_rung, sorted(bank.maxima(null_rung)), self._joint_null(bank, null_rung), rate,
                    bank.count_texts(rung),
                )  # fmt: skip
        return self._nulls[rung]

    def _joint_null(self, bank: NullBank, null_rung: Rung) -> JointNull | None:
        """Return the controls' best similarities by the legs of the policy; None without the copy descriptor."""
        if not self.policy.uses_copy_descriptor or not bank.descriptor_maxima(null_rung):
            return None
        pairs = [(one.best(null_rung), one.best_by_descriptor(null_rung)) for one in bank.controls]
        known = [[pixel, copy] for pixel, copy in pairs if pixel is not None and copy is not None]
        return JointNull(_choose_columns(known, self.policy))

    def rung_thresholds(self, rung: Rung) -> CopyThresholds | Skipped:
        """Return what a generated image must exceed to be a copy.

        They come from the controls; for text rungs without enough controls to place them, the absolute standard holds.
        """
        thresholds = self._control_thresholds
        placed = rung not in TEXT_RUNGS or (
            self.bank is not None and len(self.bank.controls) >= controls_to_place(self.policy.copy_level)
        )
        if thresholds is not None and placed and isfinite(thresholds.similarity) and isfinite(thresholds.distance):
            return thresholds.choose_legs(self.policy)
        if rung in TEXT_RUNGS:
            return ABSOLUTE_STANDARD
        if self.bank is None:
            return Skipped(skipped=NO_CONTROLS)
        return Skipped(skipped=f"{len(self.bank.controls)} controls are too few for level {self.policy.copy_level:g}")


def _choose_columns(best: Sequence[Sequence[float]], policy: Policy) -> npt.NDArray[np.float64]:
    """Return (images, legs, 1) of (images, 2): best similarity by pixels, and by the copy descriptor.

    A policy by the descriptor alone has the second only.
    """
    columns = np.asarray(best, dtype=float).reshape(len(best), 2, 1)
    return columns[:, 1:] if policy.legs == "descriptor" else columns


class HitRate(NamedTuple):
    """The replication rate of a rung, as counts."""

    guidance_scale: float
    """Guidance scale that the rate holds for."""
    n: int
    """Number of generated images that could be scored."""
    hits: int
    """Number of these that are copies."""
    confidence: float
    """Confidence of the interval: 0.95, or 0.975 where other seeds chose the scale, so that both looks hold at 95 %."""


def measure_hit_rate(measured: RungMeasurement, protocol: Protocol, is_copy: Sequence[bool]) -> HitRate:
    """Count the copies of a rung, without the seeds that chose the guidance scale.

    With one scale, all seeds. With several, the first `selection_seeds` at every scale have chosen one when they were
    generated, by similarity alone; only the seeds after these count.

    is_copy:  per replica; those that could not be scored are left out of n
    """
    config = protocol.generation
    by_scale: dict[float, list[tuple[Replica, bool]]] = {}
    for replica, copy in zip(measured.replicas, is_copy, strict=True):
        by_scale.setdefault(replica.guidance_scale, []).append((replica, copy))
    looks = 2 if config.selection_seeds else 1
    scale = max(by_scale, key=lambda one: len(by_scale[one]), default=config.guidance_scales[0])
    fresh = by_scale.get(scale, [])[config.selection_seeds :]
    scored = [copy for replica, copy in fresh if not isinstance(replica.similarity, Skipped)]
    return HitRate(scale, len(scored), sum(scored), 1 - 0.05 / looks)


def replicates(replica: Replica | StreamReplica, thresholds: CopyThresholds | Skipped) -> bool:
    """Say whether a generated image passes the copy thresholds."""
    if isinstance(thresholds, Skipped) or isinstance(replica.similarity, Skipped):
        return False
    assert not isinstance(replica.distance, Skipped)
    return thresholds.is_copy(
        replica.similarity[DECIDING_DESCRIPTOR], replica.distance[DECIDING_DISTANCE],
        find_copy_similarity(replica.similarity),
    )  # fmt: skip


def stream_rates(measurement: Measurement, thresholds: CopyThresholds | Skipped) -> tuple[StreamRate, ...]:
    """Count the copies under each choice of text streams; empty without thresholds."""
    if isinstance(thresholds, Skipped):
        return ()
    rates = []
    for condition in measurement.stream_conditions:
        scored = [replica for replica in condition.replicas if not isinstance(replica.similarity, Skipped)]
        hits = sum(replicates(replica, thresholds) for replica in scored)
        low, high = clopper_pearson(hits, len(scored))
        rates.append(
            StreamRate(
                streams=condition.streams, n=len(scored), hits=hits, low=low, high=high, log_ratio=condition.log_ratio
            )
        )
    return tuple(rates)


def measure_replication(measurement: Measurement, rung: Rung, evidence: Evidence) -> Replication:
    """Count the copies that one rung returned of one image.

    The p-value is not yet corrected for the ladder and the folder, and `stands` is not yet decided.
    """
    measured = measurement.ladder(rung)
    assert isinstance(measured, RungMeasurement)
    thresholds = evidence.rung_thresholds(rung)
    rate = measure_hit_rate(
        measured, evidence.protocol, [replicates(replica, thresholds) for replica in measured.replicas]
    )
    interval = clopper_pearson(rate.hits, rate.n, rate.confidence)
    null = evidence.rung_null(rung)
    best = measured.best(DECIDING_DESCRIPTOR)
    by_pixels = rate.hits
    if isinstance(thresholds, CopyThresholds) and thresholds.copy_similarity is not None:
        pixels = thresholds.model_copy(update={"copy_similarity": None})
        by_pixels = measure_hit_rate(
            measured, evidence.protocol, [replicates(replica, pixels) for replica in measured.replicas]
        ).hits
    near_identical = sum(replicates(replica, ABSOLUTE_STANDARD) for replica in measured.replicas)
    return Replication(
        rung=rung,
        n=rate.n,
        hits=rate.hits,
        by_descriptor=rate.hits - by_pixels,
        # Pixels tell a copy of the whole by the controls' thresholds, or by the absolute standard.
        at_least_a_part=evidence.policy.legs == "either" and by_pixels == near_identical == 0 < rate.hits,
        near_identical=near_identical,
        invalid=len(measured.replicas) - len(measured.valid),
        rate=rate.hits / rate.n if rate.n else 0.0,
        low=interval.low,
        high=interval.high,
        confidence=rate.confidence,
        upper_bound=upper_bound(rate.hits, rate.n, rate.confidence),
        guidance_scale=rate.guidance_scale,
        best_similarity=best if best is not None else -1.0,
        p_value=_control_p_value(measured, rung, null, evidence),
        coincidence_p_value=_coincidence(measurement.id, rung, evidence),
        q_value=Skipped(skipped="reported beside the verdict and not tested"),
        stands=False,
        thresholds=thresholds.model_dump() if isinstance(thresholds, CopyThresholds) else thresholds,
        control_rate=null.control_rate if null else _no_null(rung, evidence),
        null_rung=null.rung if null else _no_null(rung, evidence),
        stream_rates=stream_rates(measurement, thresholds) if rung is Rung.EMBEDDING else (),
    )


def count_by_absolute_standard(copy: Replication, measured: RungMeasurement, evidence: Evidence) -> Replication:
    """Count the near-identical images of a rung as its copies, where these are more than by the controls' thresholds.

    A claim by the absolute standard is shown with the rate that it rests on.
    """
    near = [replicates(replica, ABSOLUTE_STANDARD) for replica in measured.replicas]
    rate = measure_hit_rate(measured, evidence.protocol, near)
    if rate.hits <= copy.hits:
        return copy
    interval, null = clopper_pearson(rate.hits, rate.n, rate.confidence), evidence.rung_null(copy.rung)
    control_rate: float | Skipped = _no_null(copy.rung, evidence)
    if evidence.bank is not None and null is not None:
        control_rate = evidence.bank.control_rate(null.rung, ABSOLUTE_STANDARD)
    counted = {
        "hits": rate.hits, "rate": rate.hits / rate.n, "low": interval.low, "high": interval.high,
        "upper_bound": upper_bound(rate.hits, rate.n, rate.confidence), "control_rate": control_rate,
        "thresholds": ABSOLUTE_STANDARD.model_dump(), "by_descriptor": 0,
    }  # fmt: skip
    return copy.model_copy(update=counted)


def _no_null(rung: Rung, evidence: Evidence) -> Skipped:
    """Give the reason why a rung has no controls to be compared with."""
    if rung in REPORTED_RUNGS and evidence.bank is not None and evidence.bank.controls:
        return Skipped(skipped="the controls were not measured with learned noise: calibrate with --measure invmm")
    return Skipped(skipped=NO_CONTROLS)


def _control_p_value(
    measured: RungMeasurement, rung: Rung, null: RungNull | None, evidence: Evidence
) -> float | Skipped:
    best = measured.best(DECIDING_DESCRIPTOR)
    if null is None:
        return _no_null(rung, evidence)
    if best is None:
        return Skipped(skipped="no replica could be scored")
    if rung in TEXT_RUNGS and not evidence.captions_comparable:
        return CAPTIONS_DIFFER
    p_value = float(conformal_p_values([best], null.maxima)[0])
    if null.joint is not None and (closest := _best_by_descriptor(measured)) is not None:
        p_value = float(null.joint.p_values(_choose_columns([[best, closest]], evidence.policy))[0])
    return correct_for_texts(p_value, len(measured.texts), null.texts)


def measure_text_p_value(measurement: Measurement, rung: Rung, evidence: Evidence) -> float | Skipped:
    """Return the coincidence p-value of a text rung; that of the controls where there is nothing else to compare with.

    It is not yet corrected for the ladder and the folder.
    """
    coincidence = _coincidence(measurement.id, rung, evidence)
    measured = measurement.ladder(rung)
    if not isinstance(coincidence, Skipped) or not isinstance(measured, RungMeasurement):
        return coincidence
    return _control_p_value(measured, rung, evidence.rung_null(rung), evidence)


def _best_by_descriptor(measured: RungMeasurement) -> float | None:
    scored = [one.similarity for one in measured.valid if not isinstance(one.similarity, Skipped)]
    return max((value for one in scored if (value := find_copy_similarity(one)) is not None), default=None)


def _coincidence(image_id: str, rung: Rung, evidence: Evidence) -> float | Skipped:
    """Return the coincidence p-value, unless there is nothing to compare with or it could not be small."""
    if rung not in TEXT_RUNGS:
        return Skipped(skipped="only texts have one")
    crossed = evidence.cross_matches.get(rung)
    value = crossed.coincidence_p_value(image_id) if crossed is not None and image_id in crossed else None
    if crossed is None or value is None:
        return Skipped(skipped="no other target or decoy to compare with")
    level = evidence.policy.level
    if 1 / (1 + crossed.pairs) > level:
        # A little less, as 1 / 0.05 is a whole number only up to rounding.
        needed = ceil(1 / level - 1e-9) - 1
        return Skipped(skipped=f"{crossed.pairs} pairs of other images are too few, {needed} are needed")
    return value


def deciding_p_value(replication: Replication) -> float | Skipped:
    """Return the p-value against the controls, or the coincidence p-value where that is larger.

    Coincidence is a floor: an image's caption makes generated images resemble the image more than images of other
    captions do, without any memorisation. By itself it would call too many images copies. It compares pixels, so it
    has no say where the copy descriptor alone found the copies: these are compared with what captions gave of controls.
    """
    if 0 < replication.hits == replication.by_descriptor:
        return replication.p_value
    coincidence = replication.coincidence_p_value
    if isinstance(replication.p_value, Skipped) or isinstance(coincidence, Skipped):
        return replication.p_value
    return max(replication.p_value, coincidence)


def exceeds_controls(claim: Replication | PartReplication, level: float) -> bool:
    """Say whether an inverted rung returns copies more often than the controls do, and closer than most of them."""
    if claim.hits == 0 or isinstance(claim.thresholds, Skipped):
        return False
    if isinstance(claim.control_rate, Skipped) or not is_at_most(claim.p_value, level):
        return False
    return claim.low > claim.control_rate

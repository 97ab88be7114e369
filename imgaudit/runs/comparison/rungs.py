"""One rung of one image in two runs: copies counted by the same thresholds, their difference, and its test."""

from math import isfinite

from imgaudit.decision.copy_thresholds import CopyThresholds
from imgaudit.decision.replication import HitRate, measure_hit_rate, replicates
from imgaudit.runs.finished import FinishedRun
from imgaudit.schema.comparison import Copies, RungComparison
from imgaudit.schema.records import Measurement, Rung, RungMeasurement, Skipped
from imgaudit.schema.replication import Replication
from imgaudit.statistics import clopper_pearson, fisher_exact, newcombe, upper_bound

NOT_TESTED = Skipped(skipped="the runs did not ask with the same text or embedding")
"""Reason that two rates say nothing of two models."""


def _thresholds(replication: Replication) -> CopyThresholds | None:
    given = replication.thresholds
    if (
        isinstance(given, Skipped)
        or not {"similarity", "distance"} <= given.keys() <= CopyThresholds.model_fields.keys()
    ):
        return None
    return CopyThresholds(**given) if all(isfinite(value) for value in given.values()) else None


def compare_rung(
    left: Replication,
    right: Replication,
    measured: tuple[Measurement, Measurement],
    runs: tuple[FinishedRun, FinishedRun],
) -> RungComparison | str:
    """One rung counted again by the thresholds that are strict enough for both runs, or why it cannot be.

    Every model has controls of its own and so thresholds of its own: a rate by one run's compares with nothing.
    """
    of_left, of_right = _thresholds(left), _thresholds(right)
    if of_left is None or of_right is None:
        return f"run {'A' if of_left is None else 'B'} has no copy thresholds"
    same_descriptor = runs[0].manifest.copy_descriptor == runs[1].manifest.copy_descriptor
    common = _strictest(of_left, of_right, same_descriptor)
    of_a = _count(left, measured[0], runs[0], of_left, common)
    of_b = _count(right, measured[1], runs[1], of_right, common)
    if isinstance(of_a, str) or isinstance(of_b, str):
        return f"{of_a} in run A" if isinstance(of_a, str) else f"{of_b} in run B"
    counts = (of_a.hits, of_a.n, of_b.hits, of_b.n)
    confidence = left.confidence
    interval = newcombe(*counts, confidence)
    return RungComparison(
        rung=left.rung,
        a=of_a,
        b=of_b,
        thresholds=common.model_dump(),
        same_thresholds=of_left == of_right,
        confidence=confidence,
        difference=of_b.rate - of_a.rate,
        low=interval.low,
        high=interval.high,
        p_value=fisher_exact(*counts) if _same_texts(left.rung, measured) else NOT_TESTED,
    )


def _strictest(left: CopyThresholds, right: CopyThresholds, same_descriptor: bool) -> CopyThresholds:
    """Return thresholds that are strict enough for both runs; the copy descriptor counts where both have the same."""
    by_descriptor = [one.copy_similarity for one in (left, right) if one.copy_similarity is not None]
    return CopyThresholds(
        similarity=max(left.similarity, right.similarity),
        distance=min(left.distance, right.distance),
        copy_similarity=max(by_descriptor) if same_descriptor and len(by_descriptor) == 2 else None,
    )


def _same_texts(rung: Rung, measured: tuple[Measurement, Measurement]) -> bool:
    a, b = (measurement.ladder(rung) for measurement in measured)
    if isinstance(a, Skipped) or isinstance(b, Skipped) or rung is Rung.EMBEDDING:
        return False
    return a.texts == b.texts


def _rate(measured: RungMeasurement, run: FinishedRun, thresholds: CopyThresholds) -> HitRate:
    return measure_hit_rate(
        measured, run.result.protocol, [replicates(replica, thresholds) for replica in measured.replicas]
    )


def _count(
    replication: Replication, measurement: Measurement, run: FinishedRun, own: CopyThresholds, common: CopyThresholds
) -> Copies | str:
    """One run's copies by the common thresholds, or what forbids to count them."""
    ladder = measurement.ladder(replication.rung)
    if isinstance(ladder, Skipped):
        return "what was generated is not recorded"
    unscored = len(ladder.replicas) - len(ladder.valid)
    rate, by_own = _rate(ladder, run, common), _rate(ladder, run, own)
    if not rate.n or 2 * unscored > len(ladder.replicas):
        # A filter that blackens copies would otherwise pass for a model that does not make them.
        return f"{unscored} of {len(ladder.replicas)} generated images could not be scored"
    if (by_own.hits, by_own.n, by_own.confidence) != (replication.hits, replication.n, replication.confidence):
        return "report and records disagree (imgaudit report decides a run again)"
    interval = clopper_pearson(rate.hits, rate.n, rate.confidence)
    return Copies(
        n=rate.n,
        hits=rate.hits,
        own_hits=by_own.hits,
        unscored=unscored,
        rate=rate.hits / rate.n,
        low=interval.low,
        high=interval.high,
        upper_bound=upper_bound(rate.hits, rate.n, rate.confidence),
        guidance_scale=rate.guidance_scale,
        stands=replication.whole_stands,
    )

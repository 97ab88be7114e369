"""From measurements and a null bank to verdicts: pure functions of records, so any run can be decided again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite

from imgaudit.calibration import CopyThresholds, NullBank
from imgaudit.config import Protocol
from imgaudit.matching import DECIDING_DESCRIPTOR, DECIDING_DISTANCE, CrossMatches
from imgaudit.records import (
    TEXT_RUNGS,
    BestReplica,
    Finding,
    Measurement,
    Neighbour,
    Replica,
    Replication,
    Rung,
    RungMeasurement,
    Skipped,
    Verdict,
)
from imgaudit.statistics import benjamini_hochberg, clopper_pearson, conformal_p_value, upper_bound

NO_CONTROLS = "no controls: give --controls DIR or --calibration FILE"


@dataclass(frozen=True)
class Evidence:
    """What a folder's verdicts are decided from, apart from the measurements."""

    bank: NullBank | None
    """The null bank, if there is one."""
    protocol: Protocol
    """What every image met."""
    level: float
    """False discovery rate, and level of copy thresholds."""
    near_duplicates: Mapping[str, Sequence[tuple[str, float]]] = field(default_factory=dict)
    """Per target, its near copies in the folder."""
    cross_matches: Mapping[Rung, CrossMatches] = field(default_factory=dict)
    """Per rung, generations against all targets."""

    def rung_thresholds(self, rung: Rung) -> CopyThresholds | Skipped:
        """What a seed of a rung must exceed; from the controls, or for text rungs from other targets without them."""
        thresholds = self.bank.thresholds(self.level) if self.bank else None
        if thresholds is not None and isfinite(thresholds.similarity) and isfinite(thresholds.distance):
            return thresholds
        crossed = self.cross_matches.get(rung)
        if rung in TEXT_RUNGS and crossed is not None and len(crossed.ids) > 1:
            # The distance leg has no coincidence counterpart here, so a stricter similarity alone must do.
            return CopyThresholds(similarity=max(0.9, crossed.threshold()), distance=1.0)
        if self.bank is None:
            return Skipped(skipped=NO_CONTROLS)
        return Skipped(skipped=f"{len(self.bank.controls)} controls are too few for level {self.level:g}")


def decide(measurements: Sequence[Measurement], evidence: Evidence) -> list[Finding]:
    """One finding per measurement, in order; error rates hold over the whole sequence.

    score:  p-values against the bank, q-values over the folder (Benjamini-Hochberg)
    copies: per rung, hits against thresholds that at most a share `level` of controls reaches, p- and q-values of the
            best similarity against the controls' best over the same seeds and scales
    """
    bank = evidence.bank.without({m.sha256 for m in measurements}) if evidence.bank else None
    evidence = Evidence(bank, evidence.protocol, evidence.level, evidence.near_duplicates, evidence.cross_matches)
    p_values: list[float] = []
    scores: list[float] = []
    if bank and bank.controls:
        line, control_scores = bank.line, bank.scores()
        scores = [line.residual(m.error.log_ratio, m.complexity) for m in measurements]
        p_values = [conformal_p_value(score, control_scores) for score in scores]
    q_values = benjamini_hochberg(p_values)
    replications = _replications(measurements, evidence)
    findings = []
    for row, measurement in enumerate(measurements):
        has_p = bool(p_values)
        findings.append(
            _conclude(
                measurement,
                evidence,
                replications[measurement.id],
                score=scores[row] if has_p else Skipped(skipped=NO_CONTROLS),
                p_value=p_values[row] if has_p else Skipped(skipped=NO_CONTROLS),
                q_value=q_values[row] if has_p else Skipped(skipped=NO_CONTROLS),
            )
        )
    return findings


def _replications(measurements: Sequence[Measurement], evidence: Evidence) -> dict[str, list[Replication]]:
    found: dict[str, list[Replication]] = {measurement.id: [] for measurement in measurements}
    for rung in Rung:
        with_rung = [m for m in measurements if isinstance(m.rungs[rung], RungMeasurement)]
        partial = {m.id: _replication(m, rung, evidence) for m in with_rung}
        for p_name, q_name in (("p_value", "q_value"), ("coincidence_p_value", "coincidence_q_value")):
            tested = {n: p for n, r in partial.items() if not isinstance(p := getattr(r, p_name), Skipped)}
            for name, q_value in zip(tested, benjamini_hochberg(list(tested.values())), strict=True):
                partial[name] = partial[name].model_copy(update={q_name: q_value})
        for name, replication in partial.items():
            found[name].append(replication)
    return found


def rate_replicas(valid: Sequence[Replica], protocol: Protocol, is_copy: Sequence[bool]) -> tuple[float, int, int]:
    """Guidance scale, scored seeds and hits from which the rate is reported.

    With one scale, all seeds. With several, the first `selection_seeds` of each scale choose the scale (most hits, the
    lower scale on a tie) and only the others count.
    """
    config = protocol.generation
    by_scale: dict[float, list[bool]] = {scale: [] for scale in config.guidance_scales}
    for replica, copy in zip(valid, is_copy, strict=True):
        by_scale.setdefault(replica.guidance_scale, []).append(copy)
    if len(by_scale) == 1:
        [(scale, copies)] = by_scale.items()
        return scale, len(copies), sum(copies)
    first = config.selection_seeds
    scale = min(by_scale, key=lambda s: (-sum(by_scale[s][:first]), s))
    fresh = by_scale[scale][first:]
    return scale, len(fresh), sum(fresh)


def _replication(measurement: Measurement, rung: Rung, evidence: Evidence) -> Replication:
    measured = measurement.rungs[rung]
    assert isinstance(measured, RungMeasurement)
    thresholds = evidence.rung_thresholds(rung)
    valid = measured.valid
    best = measured.best(DECIDING_DESCRIPTOR)
    copies = [
        isinstance(thresholds, CopyThresholds)
        and isinstance(replica.similarity, dict)
        and isinstance(replica.distance, dict)
        and thresholds.is_copy(replica.similarity[DECIDING_DESCRIPTOR], replica.distance[DECIDING_DISTANCE])
        for replica in valid
    ]
    scale, n, hits = rate_replicas(valid, evidence.protocol, copies)
    interval = clopper_pearson(hits, n)
    null_rung = evidence.bank.null_rung(rung) if evidence.bank else None
    maxima = evidence.bank.maxima(null_rung) if evidence.bank and null_rung else []
    p_value: float | Skipped = Skipped(skipped=NO_CONTROLS)
    if best is None:
        p_value = Skipped(skipped="no replica could be scored")
    elif maxima:
        p_value = conformal_p_value(best, maxima)
    control_rate: float | Skipped = Skipped(skipped=NO_CONTROLS)
    if evidence.bank and null_rung and isinstance(thresholds, CopyThresholds):
        control_rate = evidence.bank.control_rate(null_rung, thresholds)
    return Replication(
        rung=rung,
        n=n,
        hits=hits,
        invalid=len(measured.replicas) - len(valid),
        rate=hits / n if n else 0.0,
        low=interval.low,
        high=interval.high,
        upper_bound=upper_bound(hits, n),
        guidance_scale=scale,
        best_similarity=best if best is not None else -1.0,
        p_value=p_value,
        q_value=p_value if isinstance(p_value, Skipped) else Skipped(skipped="not corrected yet"),
        coincidence_p_value=(coincidence := _coincidence(measurement.id, rung, evidence)),
        coincidence_q_value=coincidence if isinstance(coincidence, Skipped) else Skipped(skipped="not corrected yet"),
        thresholds={"similarity": thresholds.similarity, "distance": thresholds.distance}
        if isinstance(thresholds, CopyThresholds)
        else thresholds,
        control_rate=control_rate,
        null_rung=null_rung or Skipped(skipped=NO_CONTROLS),
    )


def _coincidence(image_id: str, rung: Rung, evidence: Evidence) -> float | Skipped:
    """The coincidence p-value, unless it could not be small or the controls give a finer one.

    Which of the two nulls decides depends on their sizes alone, so it is settled before anything is measured.
    """
    if rung not in TEXT_RUNGS:
        return Skipped(skipped="not a text rung")
    crossed = evidence.cross_matches.get(rung)
    value = crossed.coincidence_p_value(image_id) if crossed is not None and image_id in crossed.ids else None
    if crossed is None or value is None:
        return Skipped(skipped="no other target to compare with")
    pairs = len(crossed.ids) * (len(crossed.ids) - 1)
    if 1 / (1 + pairs) > evidence.level:
        return Skipped(skipped=f"{pairs} pairs of other images are too few")
    null_rung = evidence.bank.null_rung(rung) if evidence.bank else None
    controls = len(evidence.bank.maxima(null_rung)) if evidence.bank and null_rung else 0
    if pairs < controls:
        return Skipped(skipped=f"{pairs} pairs of other images say less than {controls} controls")
    return value


def reproduces(replication: Replication, level: float, score_q: float | Skipped) -> bool:
    """Whether a rung's replicas are more than coincidence, framing and forcing explain.

    text rungs   at least one copy; q of the coincidence test over the folder at most the level, or, where the folder is
                 too small for that test, q against the controls
    embedding    at least one copy; the score's q at most the level; rate's lower bound above the controls' rate
    """
    if replication.hits == 0 or isinstance(replication.thresholds, Skipped):
        return False
    if replication.rung in TEXT_RUNGS:
        coincidence = replication.coincidence_q_value
        decisive = replication.q_value if isinstance(coincidence, Skipped) else coincidence
        return not isinstance(decisive, Skipped) and decisive <= level
    if isinstance(score_q, Skipped) or isinstance(replication.control_rate, Skipped):
        return False
    return score_q <= level and replication.low > replication.control_rate


def _best_replica(measurement: Measurement) -> BestReplica | Skipped:
    scored = [
        (rung, replica)
        for rung, measured in measurement.rungs.items()
        if isinstance(measured, RungMeasurement)
        for replica in measured.valid
    ]
    if not scored:
        return Skipped(skipped="no generated image could be scored")
    rung, best = max(
        scored, key=lambda pair: pair[1].similarity[DECIDING_DESCRIPTOR] if isinstance(pair[1].similarity, dict) else -2
    )
    assert isinstance(best.similarity, dict) and isinstance(best.distance, dict)
    return BestReplica(
        rung=rung, path=best.path, seed=best.seed, guidance_scale=best.guidance_scale,
        similarity=best.similarity, distance=best.distance,
    )  # fmt: skip


def _alarms(measurement: Measurement, evidence: Evidence) -> list[str]:
    alarms = []
    floor = measurement.vae_floor[DECIDING_DESCRIPTOR]
    if floor < 0.9:
        alarms.append(
            f"the model's autoencoder cannot render this image well (similarity {floor:.2f} at best): "
            "replicas are compared with what it can render"
        )
    duplicates = evidence.near_duplicates.get(measurement.id, [])
    if duplicates:
        alarms.append(f"{len(duplicates)} near-duplicate(s) in this folder: their p-values are not independent")
    for rung in TEXT_RUNGS:
        measured = measurement.rungs[rung]
        if isinstance(measured, RungMeasurement) and measured.cut_tokens:
            alarms.append(f"the {rung.value} was cut: the model never saw its last {measured.cut_tokens} token(s)")
    ladder = [measured for measured in measurement.rungs.values() if isinstance(measured, RungMeasurement)]
    if invalid := sum(len(measured.replicas) - len(measured.valid) for measured in ladder):
        alarms.append(f"{invalid} generated frame(s) were invalid and not scored")
    if evidence.bank and len(evidence.bank.controls) + 1 < 1 / evidence.level:
        alarms.append(f"{len(evidence.bank.controls)} controls cannot give a p-value at or below {evidence.level:g}")
    return alarms


def _conclude(
    measurement: Measurement,
    evidence: Evidence,
    replications: list[Replication],
    *,
    score: float | Skipped,
    p_value: float | Skipped,
    q_value: float | Skipped,
) -> Finding:
    reproducing = [r for r in replications if reproduces(r, evidence.level, q_value)]
    lowest = reproducing[0] if reproducing else None
    verdict, reason = _verdict(lowest, replications, evidence, p_value, q_value)
    crossed = [pair for matches in evidence.cross_matches.values() if measurement.id in matches.ids
               for pair in matches.resembling(measurement.id)]  # fmt: skip
    return Finding(
        id=measurement.id,
        path=measurement.path,
        sha256=measurement.sha256,
        verdict=verdict,
        reason=reason,
        rung=lowest.rung if lowest else Skipped(skipped="no rung reproduced the image"),
        score=score,
        p_value=p_value,
        q_value=q_value,
        replication=replications,
        error=measurement.error,
        best_replica=_best_replica(measurement),
        near_duplicates=[
            Neighbour(id=name, similarity=value) for name, value in evidence.near_duplicates.get(measurement.id, [])
        ],
        resembles_others=[Neighbour(id=name, similarity=value) for name, value in dict(crossed).items()],
        alarms=_alarms(measurement, evidence),
        seconds=measurement.seconds,
        network_evaluations=measurement.network_evaluations,
    )


def _verdict(
    lowest: Replication | None,
    replications: Sequence[Replication],
    evidence: Evidence,
    p_value: float | Skipped,
    q_value: float | Skipped,
) -> tuple[Verdict, str]:
    if lowest is not None:
        rate = (
            f"{lowest.hits} of {lowest.n} generated images are copies "
            f"({lowest.rate:.0%}, 95 % interval {lowest.low:.1%} to {lowest.high:.1%})"
        )
        if lowest.rung in TEXT_RUNGS:
            return Verdict.REPLICATED, f"The model returns this image for its {lowest.rung.value}: {rate}."
        return (
            Verdict.REPLICATED_BY_INVERSION,
            f"The model returns this image under an embedding inverted from it, unlike the controls: {rate}.",
        )
    tried = sum(r.n for r in replications)
    copies = sum(r.hits for r in replications)
    bound = f"the rate per attempt is below {max((r.upper_bound for r in replications), default=1.0):.1%} at 95 %"
    bank = evidence.bank
    if bank is None or isinstance(q_value, Skipped) or len(bank.controls) + 1 < 1 / evidence.level:
        have = "no controls" if bank is None else f"only {len(bank.controls)} controls"
        return Verdict.INCONCLUSIVE, f"With {have} nothing can be said about this image; {tried} images were generated."
    if q_value <= evidence.level:
        return (
            Verdict.ATYPICAL,
            f"The model predicts this image unlike the controls (q = {q_value:.3g}), but no copy stands among "
            f"{tried} generated images.",
        )
    if copies:
        return (
            Verdict.NOT_REPRODUCED,
            f"{copies} of {tried} generated images pass the copy thresholds, which as many as {evidence.level:.0%} of "
            f"controls do; score p = {p_value:.3g}. No copy beyond what controls give, within this budget.",
        )
    return (
        Verdict.NOT_REPRODUCED,
        f"No copy among {tried} generated images within this budget: {bound}; score p = {p_value:.3g}.",
    )

"""From a decided folder to one finding per image: its verdict, and the reason in one sentence with its numbers."""

import hashlib
from collections.abc import Iterator, Sequence

from imgaudit.decision.folder import FolderDecision
from imgaudit.decision.replication import NO_CONTROLS, Evidence
from imgaudit.schema.findings import AlarmCode, AlarmEffect, BestReplica, Finding, NearDuplicate, Verdict
from imgaudit.schema.measures import DECIDING_DESCRIPTOR
from imgaudit.schema.pairs import WHOLE
from imgaudit.schema.records import DECIDING_RUNGS, TEXT_RUNGS, Measurement, Rung, Skipped, SkippedImage
from imgaudit.schema.replication import PartReplication, Replication

NEVER_ONLY_SHOWN = (AlarmCode.TOO_FEW_CONTROLS, AlarmCode.MODEL_CHECK)
"""Alarms that no policy can reduce to a warning."""


def decide(measurements: Sequence[Measurement], evidence: Evidence) -> list[Finding]:
    """Decide a folder and return one finding per measurement, in order; error rates hold over the whole folder."""
    decision = FolderDecision(measurements, evidence)
    return conclude_folder(decision)


def conclude_folder(decision: FolderDecision) -> list[Finding]:
    """Return the findings of a decided folder, in the order of its measurements."""
    return list(conclude_images(decision))


def conclude_images(decision: FolderDecision) -> Iterator[Finding]:
    """Yield the same findings one after the other, each made when it is asked for."""
    return (_conclude(measurement, decision) for measurement in decision.measurements)


def _best_replica(measurement: Measurement) -> BestReplica | Skipped:
    closest = measurement.closest(DECIDING_DESCRIPTOR)
    if closest is None:
        none = "none was generated, because the image was scored only" if measurement.not_asked else ""
        return Skipped(skipped=none or "no generated image could be scored")
    rung, best = closest
    assert isinstance(best.similarity, dict) and isinstance(best.distance, dict)
    return BestReplica(
        rung=rung, path=best.path, seed=best.seed, guidance_scale=best.guidance_scale,
        similarity=best.similarity, distance=best.distance,
    )  # fmt: skip


def _conclude(measurement: Measurement, decision: FolderDecision) -> Finding:
    name = measurement.id
    ladder = decision.replications(measurement)
    lowest, partly = _find_lowest(ladder)
    verdict, reason = _verdict(name, ladder, decision)
    returned = lowest or partly
    evidence = decision.evidence
    crossed = [
        pair for matches in evidence.cross_matches.values() if name in matches for pair in matches.resembling(name)
    ]
    no_bank = decision.bank is None or not decision.bank.controls
    return Finding(
        id=name,
        path=measurement.path,
        sha256=measurement.sha256,
        verdict=verdict,
        reason=reason,
        rung=returned.rung if returned else Skipped(skipped="no rung reproduced the image"),
        score=Skipped(skipped=NO_CONTROLS)
        if no_bank or decision.bank is None
        else decision.bank.score(measurement, decision.policy.complexity),
        score_p_value=decision.score_p_values[name],
        caption_score=decision.caption_score(measurement),
        p_value=decision.p_values[name],
        q_value=decision.q_values[name],
        group=decision.representatives[name],
        replication=ladder,
        error=measurement.error,
        best_replica=_best_replica(measurement),
        near_duplicates=[NearDuplicate(id=other, similarity=s) for other, s in evidence.near_duplicates.get(name, [])],
        resembles_others=[NearDuplicate(id=other, similarity=value) for other, value in dict(crossed).items()],
        invmm=decision.invmm(measurement),
        scored_only=bool(decision.not_asked[name]),
        alarms=decision.image_alarms[name],
        seconds=measurement.seconds,
        network_evaluations=measurement.network_evaluations,
    )


def _find_lowest(ladder: Sequence[Replication]) -> tuple[Replication | None, Replication | None]:
    """Return the lowest rung that returned the image, and the lowest that returned a part of it."""
    lowest = next((replication for replication in ladder if replication.whole_stands), None)
    return lowest, next((replication for replication in ladder if replication.partly_stands), None)


def _verdict(name: str, replications: Sequence[Replication], decision: FolderDecision) -> tuple[Verdict, str]:
    lowest, partly = _find_lowest(replications)
    if lowest is not None:
        return _reproduced(lowest)
    if partly is not None:
        return Verdict.PARTIAL, _partly(partly)
    ladder = [one for one in replications if one.rung in DECIDING_RUNGS]
    level = decision.policy.level
    tried = sum(r.n for r in ladder)
    p_value, q_value = decision.p_values[name], decision.q_values[name]
    not_asked = decision.not_asked[name]
    if isinstance(p_value, Skipped) or isinstance(q_value, Skipped):
        reason = p_value if isinstance(p_value, Skipped) else q_value
        assert isinstance(reason, Skipped)
        if not_asked:
            said = f"No image was generated for it: {not_asked}. No conclusion can be drawn: {reason.skipped}."
            return Verdict.INCONCLUSIVE, said
        # What came back stands first: lists show only the beginning.
        near = _near_identical(ladder)
        said = f"Near-identical to it are {near}" if near else f"{tried} images were generated"
        return Verdict.INCONCLUSIVE, (
            f"{said}, but no conclusion can be drawn: {reason.skipped}."
            + (f" Look at the closest one.{_untested(ladder)}" if near else "")
        )
    if q_value <= level:
        near = _near_identical(ladder)
        return Verdict.ATYPICAL, (
            f"This image stands out from the controls (q = {q_value:.3g}), but no copy among {tried} generated images "
            "is beyond what controls give."
            + (f" Near-identical to it are {near}. Look at the closest one." if near else "")
        )
    doubt = _doubt(decision) or _unexplained(ladder)
    if doubt and not_asked:
        return Verdict.INCONCLUSIVE, (
            f"No image was generated for it: {not_asked}. p = {p_value:.3g}, from which nothing is concluded: {doubt}."
        )
    if doubt:
        return Verdict.INCONCLUSIVE, (
            f"{tried} images were generated without a copy beyond what controls give (p = {p_value:.3g}), but {doubt}."
        )
    if not_asked:
        return Verdict.NOT_REPRODUCED, f"No image was generated for it: {not_asked}. p = {p_value:.3g}."
    return (
        Verdict.NOT_REPRODUCED,
        f"No copy among {tried} generated images within this budget{_bound(ladder)}; p = {p_value:.3g}.",
    )


def _bound(ladder: Sequence[Replication]) -> str:
    """Say up to which rate copies remain possible, for the way of asking with the widest interval; empty without any.

    It is the upper end of the interval that stands beside the copies of this way of asking.
    """
    if not ladder:
        return ""
    widest = max(ladder, key=lambda one: one.high)
    alone = "" if len(ladder) == 1 else ", and no other way of asking has a higher end"
    return (
        f". For its {widest.n} images from {widest.rung.value}, the {100 * widest.confidence:g} % interval of the rate "
        f"of copies ends at {widest.high:.1%}{alone}"
    )


def _doubt(decision: FolderDecision) -> str:
    """Give the alarm because of which nothing can be called not reproduced; empty without one."""
    takes = decision.policy.alarms == "take_p_values"
    weak = (
        alarm
        for alarm in decision.alarms
        if alarm.code in NEVER_ONLY_SHOWN or (takes and alarm.effect is AlarmEffect.WEAKENS_NEGATIVES)
    )
    return next((alarm.message for alarm in weak), "")


def _unexplained(ladder: Sequence[Replication]) -> str:
    """Say what came back without being beyond the controls; empty when nothing did.

    An image that did come back is never called not reproduced, whatever the controls do.
    """
    near, copies = sum(one.near_identical for one in ladder), sum(one.hits for one in ladder)
    if near:
        best = max(one.best_similarity for one in ladder)
        return (
            f"{near} are near-identical to it (similarity up to {best:.3f}), which these controls do not "
            "explain and do not rule out as chance: look at the closest image"
        )
    if copies:
        return f"{copies} pass the copy thresholds, which is not more than chance may give: look at the closest image"
    return ""


def _near_identical(ladder: Sequence[Replication]) -> str:
    """Say how many images of each way of asking are near-identical to the target; empty when none is."""
    near = [one for one in ladder if one.near_identical]
    return " and ".join(f"{one.near_identical} of {one.n} images from {one.rung.value}" for one in near)


def _untested(ladder: Sequence[Replication]) -> str:
    """Say why it is not known whether a text returned the image by coincidence, and what to do; empty where it is."""
    for one in ladder:
        if one.rung in TEXT_RUNGS and 2 * one.near_identical >= one.n and isinstance(one.q_value, Skipped):
            return (
                f" Whether its {one.rung.value} returns it by coincidence could not be tested ({one.q_value.skipped}): "
                "give texts to more images, or give controls or --decoys, and audit again."
            )
    return ""


def _reproduced(lowest: Replication) -> tuple[Verdict, str]:
    rate = (
        f"{lowest.hits} of {lowest.n} generated images are copies "
        f"({lowest.rate:.0%}, {100 * lowest.confidence:g} % interval {lowest.low:.1%} to {lowest.high:.1%})"
    )
    if isinstance(part := lowest.part, PartReplication) and lowest.moved_stands and part.whole > lowest.hits:
        rate = (
            f"{part.whole} of {part.n} generated images show the whole of it, mirrored, moved, cropped or in other "
            f"colours; {part.hits} show at least a part (rate {part.low:.1%} to {part.high:.1%}, "
            f"{100 * lowest.confidence:g} % interval)"
        )
    elif lowest.by_descriptor:
        rate += f"; {lowest.by_descriptor} of them by the copy descriptor alone"
    if lowest.near_identical:
        rate += f"; {lowest.near_identical} are near-identical to it"
    if lowest.rung in TEXT_RUNGS:
        return Verdict.REPLICATED, f"The model returns this image for its {lowest.rung.value}: {rate}."
    if lowest.rung is Rung.TOKENS:
        return (
            Verdict.REPLICATED_BY_INVERSION,
            "The model returns this image, unlike the controls, for a short prompt that was searched for with the "
            f"image in hand: {rate}.",
        )
    return (
        Verdict.REPLICATED_BY_INVERSION,
        f"The model returns this image, unlike the controls, for an embedding computed from the image: {rate}.",
    )


def _partly(replication: Replication) -> str:
    asked = f"{'its' if replication.rung in TEXT_RUNGS else 'the inverted'} {replication.rung.value}"
    part = replication.part
    if not isinstance(part, PartReplication) or not part.stands:
        return (
            f"For {asked}, the copy descriptor finds this image, or a part of it, in {replication.hits} of "
            f"{replication.n} generated images ({replication.rate:.0%}, {100 * replication.confidence:g} % interval "
            f"{replication.low:.1%} to {replication.high:.1%}). By its pixels, none of them is a copy of the whole."
        )
    share = part.closest.area
    what = f"{share:.0%} of it" if share < WHOLE else f"{share:.0%} of it, moved or in other colours"
    passing = " Some pass the copy thresholds, but outside that part they are not close enough to be copies."
    return (
        f"For {asked}, {part.hits} of {part.n} generated images contain a part of this image beyond what controls give "
        f"({100 * replication.confidence:g} % interval {part.low:.1%} to {part.high:.1%}); the closest shows {what}."
        + (passing if replication.stands else "")
    )


def conclude_skipped(skipped: SkippedImage) -> Finding:
    """Return the finding of a file that could not be measured; its verdict is skipped, never that of a clean file."""
    reason, name = Skipped(skipped=skipped.skipped), hashlib.sha256(skipped.path.encode()).hexdigest()[:16]
    return Finding(
        id=name,
        path=skipped.path,
        sha256="",
        verdict=Verdict.SKIPPED,
        reason=f"Not measured: {skipped.skipped}.",
        rung=reason,
        score=reason,
        p_value=reason,
        q_value=reason,
        group=name,
        replication=[],
        error=reason,
        best_replica=reason,
        near_duplicates=[],
        resembles_others=[],
        alarms=[],
        seconds=0.0,
        network_evaluations=0,
    )

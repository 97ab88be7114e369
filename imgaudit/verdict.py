"""From measurements, a null bank and a policy to verdicts: pure functions of records, so any run can be decided again.

Two claims can be made about an image, each at the policy's level over the folder:

text        "a text rung reproduces it": one p-value per image, the smallest over its text rungs times their number
inversion   a fixed sequence: the score, then the embedding, each tested only if the one before stands

Near copies among the targets count as one hypothesis, for which a representative stands that was chosen before any
score; another member stands only if its group does and it would itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from imgaudit.alarms import bank_alarms, blind_alarms, image_alarms, near_controls
from imgaudit.calibration import CopyThresholds, NullBank
from imgaudit.findings import (
    Alarm,
    AlarmCode,
    AlarmEffect,
    BestReplica,
    Finding,
    ForcingCheck,
    Neighbour,
    Replication,
    Verdict,
)
from imgaudit.grouping import representatives
from imgaudit.matching import DECIDING_DESCRIPTOR
from imgaudit.policy import Policy
from imgaudit.records import INVERTED_RUNGS, TEXT_RUNGS, Measurement, Rung, RungMeasurement, Skipped
from imgaudit.replication import NO_CONTROLS, Evidence, deciding_p_value, measure_replication
from imgaudit.statistics import clopper_pearson, controls_needed, q_value_at


class Decision:
    """Everything decided over a whole folder: alarms, the bank as it counts here, p- and q-values."""

    def __init__(self, measurements: Sequence[Measurement], evidence: Evidence) -> None:
        self.measurements = measurements
        self.policy = evidence.policy
        bank = evidence.bank
        self.near_bank = near_controls(measurements, bank) if bank else {}
        if bank is not None:
            copies = {name for near in self.near_bank.values() for name in near}
            bank = bank.without({m.sha256 for m in measurements} | copies)
        self.bank = bank
        self.forcing = check_forcing(bank, self.policy) if bank else Skipped(skipped=NO_CONTROLS)
        self.alarms = (
            [] if bank is None else [*blind_alarms(measurements, bank), *bank_alarms(bank, self.policy, self.forcing)]
        )
        blind = any(alarm.code is AlarmCode.BLIND_CAPTIONS for alarm in self.alarms)
        takes = self.policy.alarms == "take_p_values"
        self.evidence = replace(evidence, bank=bank, captions_comparable=not (blind and takes))
        ids = [m.id for m in measurements]
        grouped = self.policy.near_duplicates == "grouped"
        self.standing = representatives(ids, evidence.groups if grouped else ())
        self.image_alarms = {
            m.id: image_alarms(
                m, bank, representative=self.standing[m.id],
                near_duplicates=evidence.near_duplicates.get(m.id, ()), near_bank=self.near_bank,
            )
            for m in measurements
        }  # fmt: skip
        self.p_values = {m.id: self._p_value(m) for m in measurements}
        self.q_values = self._over_folder(self.p_values)
        self.replications = self._replications()

    @property
    def hypotheses(self) -> int:
        """Images that count in the folder's correction."""
        return sum(name == standing for name, standing in self.standing.items())

    def taken_by(self, image_id: str) -> Alarm | None:
        """The alarm that takes an image's p-value away, if one does."""
        if self.policy.alarms != "take_p_values":
            return None
        alarms = [*self.alarms, *self.image_alarms[image_id]]
        return next((alarm for alarm in alarms if alarm.effect is AlarmEffect.TAKES_P_VALUES), None)

    def _p_value(self, measurement: Measurement) -> float | Skipped:
        if self.bank is None or not self.bank.controls:
            return Skipped(skipped=NO_CONTROLS)
        if alarm := self.taken_by(measurement.id):
            return Skipped(skipped=f"taken away by an alarm: {alarm.message}")
        needed = controls_needed(max(1, len(self.measurements)), 1, self.policy.level)
        return self.bank.p_value(measurement, self.policy.complexity, self.bank.bins(self.policy.bins, needed))

    def _over_folder(self, p_values: Mapping[str, float | Skipped]) -> dict[str, float | Skipped]:
        """q-values; near-duplicates are one hypothesis, and no member stands before its representative."""
        known = {name: p for name, p in p_values.items() if not isinstance(p, Skipped)}
        family = [p for name, p in known.items() if self.standing[name] == name]
        corrected: dict[str, float | Skipped] = {}
        for name, p_value in p_values.items():
            lead = known.get(self.standing[name])
            if isinstance(p_value, Skipped):
                corrected[name] = p_value
            elif lead is None:
                corrected[name] = Skipped(skipped=f"its representative {self.standing[name]} has no p-value")
            else:
                corrected[name] = q_value_at(max(p_value, lead), family, self.policy.correction)
        return corrected

    def _replications(self) -> dict[str, list[Replication]]:
        found = {
            m.id: [
                measure_replication(m, rung, self.evidence)
                for rung in Rung
                if isinstance(m.ladder(rung), RungMeasurement)
            ]
            for m in self.measurements
        }
        adjusted = {name: _ladder_p_values(ladder) for name, ladder in found.items()}
        families: dict[str, float | Skipped] = {
            name: min(ps.values(), default=Skipped(skipped="no text rung")) for name, ps in adjusted.items()
        }
        whole = self._over_folder(families)
        family = [p for name, p in families.items() if not isinstance(p, Skipped) and self.standing[name] == name]
        for name, ladder in found.items():
            for place, replication in enumerate(ladder):
                if replication.rung in TEXT_RUNGS:
                    ladder[place] = self._text_rung(
                        replication, adjusted[name].get(replication.rung), whole[name], family
                    )
            self._test_inverted(name, ladder)
        return found

    def _text_rung(
        self, replication: Replication, p_value: float | None, whole: float | Skipped, family: Sequence[float]
    ) -> Replication:
        if p_value is None or isinstance(whole, Skipped):
            reason = deciding_p_value(replication)
            return replication.model_copy(update={"q_value": reason if isinstance(reason, Skipped) else whole})
        q_value = max(whole, q_value_at(p_value, family, self.policy.correction))
        return replication.model_copy(
            update={"q_value": q_value, "stands": replication.hits > 0 and q_value <= self.policy.level}
        )

    def _test_inverted(self, name: str, ladder: list[Replication]) -> None:
        """Score, then the inverted rungs in their order: the first that does not stand ends the sequence."""
        q_value = self.q_values[name]
        going = not isinstance(q_value, Skipped) and q_value <= self.policy.level
        place = {replication.rung: number for number, replication in enumerate(ladder)}
        for rung in INVERTED_RUNGS:
            if rung not in place:
                return
            replication = ladder[place[rung]]
            going = going and exceeds_controls(replication, self.policy.level)
            ladder[place[rung]] = replication.model_copy(update={"stands": going})


def _ladder_p_values(ladder: Sequence[Replication]) -> dict[Rung, float]:
    """p-values of the text rungs, each times their number (Bonferroni): the claim may come from any of them.

    Which rungs an image has is settled before anything is generated.
    """
    texts = {
        one.rung: p for one in ladder if one.rung in TEXT_RUNGS and not isinstance(p := deciding_p_value(one), Skipped)
    }
    rungs = sum(one.rung in TEXT_RUNGS for one in ladder)
    return {rung: min(1.0, rungs * p) for rung, p in texts.items()}


def exceeds_controls(replication: Replication, level: float) -> bool:
    """Whether an inverted rung gives copies: more often than the controls, and closer than all but a share of them."""
    if replication.hits == 0 or isinstance(replication.thresholds, Skipped):
        return False
    if isinstance(replication.control_rate, Skipped) or isinstance(replication.p_value, Skipped):
        return False
    return replication.low > replication.control_rate and replication.p_value <= level


def check_forcing(bank: NullBank, policy: Policy) -> ForcingCheck | Skipped:
    """Apply the embedding's rule to the controls kept out of the bank, with p in place of q.

    The copy thresholds and p-values owe nothing to them; the line of complexity was fitted on them, with two
    parameters, which makes their scores' p-values very slightly too well centred.
    """
    if not bank.kept_out:
        return Skipped(skipped="fewer than 80 controls: all of them are in the bank")
    thresholds = bank.thresholds(policy.copy_level)
    if thresholds is None:
        return Skipped(skipped=NO_CONTROLS)
    if policy.legs == "similarity":
        thresholds = CopyThresholds(similarity=thresholds.similarity, distance=1.0)
    control_rate = bank.control_rate(Rung.EMBEDDING, thresholds)
    copies = significant = called = 0
    for control in bank.kept_out:
        seeds = control.rungs.get(Rung.EMBEDDING, [])
        hits = sum(thresholds.is_copy(seed.similarity, seed.distance) for seed in seeds)
        p_value = bank.p_value(control, policy.complexity)
        small = not isinstance(p_value, Skipped) and p_value <= policy.level
        copies += hits > 0
        significant += small
        called += small and hits > 0 and clopper_pearson(hits, len(seeds)).low > control_rate
    return ForcingCheck(n=len(bank.kept_out), copies=copies, significant=significant, called=called)


def decide(measurements: Sequence[Measurement], evidence: Evidence) -> list[Finding]:
    """One finding per measurement, in order; error rates hold over the whole sequence."""
    decision = Decision(measurements, evidence)
    return findings_of(decision)


def findings_of(decision: Decision) -> list[Finding]:
    """The findings of a decided folder, in order of its measurements."""
    return [_conclude(measurement, decision) for measurement in decision.measurements]


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


def _conclude(measurement: Measurement, decision: Decision) -> Finding:
    name = measurement.id
    ladder = decision.replications[name]
    lowest = next((replication for replication in ladder if replication.stands), None)
    verdict, reason = _verdict(name, lowest, decision)
    evidence = decision.evidence
    crossed = [
        pair for matches in evidence.cross_matches.values() if name in matches.ids for pair in matches.resembling(name)
    ]
    no_bank = decision.bank is None or not decision.bank.controls
    return Finding(
        id=name,
        path=measurement.path,
        sha256=measurement.sha256,
        verdict=verdict,
        reason=reason,
        rung=lowest.rung if lowest else Skipped(skipped="no rung reproduced the image"),
        score=Skipped(skipped=NO_CONTROLS)
        if no_bank or decision.bank is None
        else decision.bank.score(measurement, decision.policy.complexity),
        p_value=decision.p_values[name],
        q_value=decision.q_values[name],
        group=decision.standing[name],
        replication=ladder,
        error=measurement.error,
        best_replica=_best_replica(measurement),
        near_duplicates=[Neighbour(id=other, similarity=s) for other, s in evidence.near_duplicates.get(name, [])],
        resembles_others=[Neighbour(id=other, similarity=value) for other, value in dict(crossed).items()],
        alarms=decision.image_alarms[name],
        seconds=measurement.seconds,
        network_evaluations=measurement.network_evaluations,
    )


def _verdict(name: str, lowest: Replication | None, decision: Decision) -> tuple[Verdict, str]:
    if lowest is not None:
        return _reproduced(lowest)
    ladder, level = decision.replications[name], decision.policy.level
    tried = sum(r.n for r in ladder)
    copies = sum(r.hits for r in ladder)
    p_value, q_value = decision.p_values[name], decision.q_values[name]
    if isinstance(p_value, Skipped) or isinstance(q_value, Skipped):
        reason = p_value if isinstance(p_value, Skipped) else q_value
        assert isinstance(reason, Skipped)
        return Verdict.INCONCLUSIVE, f"{tried} images were generated, but no conclusion can be drawn: {reason.skipped}."
    if q_value <= level:
        return (
            Verdict.ATYPICAL,
            f"The model predicts this image unlike the controls (q = {q_value:.3g}), but no copy stands among "
            f"{tried} generated images.",
        )
    takes = decision.policy.alarms == "take_p_values"
    weak = next(
        (
            alarm
            for alarm in decision.alarms
            if alarm.code is AlarmCode.TOO_FEW_CONTROLS or (takes and alarm.effect is AlarmEffect.WEAKENS_NEGATIVES)
        ),
        None,
    )
    if weak is not None:
        return Verdict.INCONCLUSIVE, f"{tried} images were generated without a copy that stands, but {weak.message}."
    if copies:
        return (
            Verdict.NOT_REPRODUCED,
            f"{copies} of {tried} generated images pass the copy thresholds, which as many as "
            f"{decision.policy.copy_level:.0%} of controls do; score p = {p_value:.3g}. No copy beyond what controls "
            "give, within this budget.",
        )
    bound = max((r.upper_bound for r in ladder), default=1.0)
    return (
        Verdict.NOT_REPRODUCED,
        f"No copy among {tried} generated images within this budget: the rate per attempt is below {bound:.1%} at "
        f"95 %; score p = {p_value:.3g}.",
    )


def _reproduced(lowest: Replication) -> tuple[Verdict, str]:
    rate = (
        f"{lowest.hits} of {lowest.n} generated images are copies "
        f"({lowest.rate:.0%}, {100 * lowest.confidence:g} % interval {lowest.low:.1%} to {lowest.high:.1%})"
    )
    if lowest.rung in TEXT_RUNGS:
        return Verdict.REPLICATED, f"The model returns this image for its {lowest.rung.value}: {rate}."
    if lowest.rung is Rung.TOKENS:
        return (
            Verdict.REPLICATED_BY_INVERSION,
            "The model returns this image for a prompt of a few words that was searched with the image in hand, "
            f"unlike the controls: {rate}.",
        )
    return (
        Verdict.REPLICATED_BY_INVERSION,
        f"The model returns this image under an embedding inverted from it, unlike the controls: {rate}.",
    )

"""What is decided over a whole folder. It needs records alone, so any run can be decided again.

Three claims can be made about an image, each at the policy's level over the folder:

text        "a text rung reproduces it": one p-value per image, its smallest over the text rungs times their number
inversion   a fixed sequence: the score, then the inverted rungs, each tested only if the one before stands
part        "a generated image contains a part of it": the same two tests, with both legs of a comparison in parts
            in place of similarity

Near copies among the targets count as one hypothesis. A representative, chosen before any score, is tested for the
group; a claim on another member stands only if it holds for the representative and for the member itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from imgaudit.decision.alarms import find_bank_alarms, find_blind_alarms, find_image_alarms, find_near_controls
from imgaudit.decision.near_duplicates import choose_representatives
from imgaudit.decision.null_bank import CopyThresholds, NullBank
from imgaudit.decision.pair_nulls import find_closest, fit_leg_thresholds, leg_p_value
from imgaudit.decision.part_replication import build_part_null, measure_part
from imgaudit.decision.replication import NO_CONTROLS, Evidence, deciding_p_value, measure_replication
from imgaudit.schema.findings import (
    NOT_IN_PARTS,
    Alarm,
    AlarmCode,
    AlarmEffect,
    ForcingCheck,
    InvMMFinding,
    PartReplication,
    Replication,
)
from imgaudit.schema.policy import Policy
from imgaudit.schema.records import INVERTED_RUNGS, TEXT_RUNGS, Measurement, Rung, RungMeasurement, Skipped
from imgaudit.statistics import clopper_pearson, controls_needed, q_value_at

Claim = TypeVar("Claim", Replication, PartReplication)


class FolderDecision:
    """A decided folder: its alarms, the controls that count for it, p-values, q-values and replication."""

    def __init__(self, measurements: Sequence[Measurement], evidence: Evidence) -> None:
        self.measurements = measurements
        self.policy = evidence.policy
        bank = evidence.bank
        self.near_bank = find_near_controls(measurements, bank) if bank else {}
        if bank is not None:
            copies = {name for near in self.near_bank.values() for name in near}
            bank = bank.exclude({m.sha256 for m in measurements} | copies)
        self.bank = bank
        self.forcing = check_forcing(bank, self.policy) if bank else Skipped(skipped=NO_CONTROLS)
        self.alarms = (
            []
            if bank is None
            else [*find_blind_alarms(measurements, bank), *find_bank_alarms(bank, self.policy, self.forcing)]
        )
        blind = any(alarm.code is AlarmCode.BLIND_CAPTIONS for alarm in self.alarms)
        takes = self.policy.alarms == "take_p_values"
        self.evidence = replace(evidence, bank=bank, captions_comparable=not (blind and takes))
        ids = [m.id for m in measurements]
        grouped = self.policy.near_duplicates == "grouped"
        self.representatives = choose_representatives(ids, evidence.groups if grouped else ())
        self.image_alarms = {
            m.id: find_image_alarms(
                m, bank, representative=self.representatives[m.id],
                near_duplicates=evidence.near_duplicates.get(m.id, ()), near_bank=self.near_bank,
            )
            for m in measurements
        }  # fmt: skip
        self.p_values = {m.id: self._p_value(m) for m in measurements}
        self.q_values = self._over_folder(self.p_values)
        self.replications = self._replications()

    @property
    def hypotheses(self) -> int:
        """Number of images that count in the folder's correction."""
        return sum(name == representative for name, representative in self.representatives.items())

    def taken_by(self, image_id: str) -> Alarm | None:
        """Return the alarm because of which the image's p-value is not used, or None."""
        if self.policy.alarms != "take_p_values":
            return None
        alarms = [*self.alarms, *self.image_alarms[image_id]]
        return next((alarm for alarm in alarms if alarm.effect is AlarmEffect.TAKES_P_VALUES), None)

    def _p_value(self, measurement: Measurement) -> float | Skipped:
        if self.bank is None or not self.bank.controls:
            return Skipped(skipped=NO_CONTROLS)
        if alarm := self.taken_by(measurement.id):
            return Skipped(skipped=f"not used because of an alarm: {alarm.message}")
        needed = controls_needed(max(1, len(self.measurements)), 1, self.policy.level)
        return self.bank.p_value(measurement, self.policy.complexity, self.bank.bins(self.policy.bins, needed))

    def invmm(self, measurement: Measurement) -> InvMMFinding | None:
        """Add to InvMM's measurement its p-value against the controls; alarms apply to it as to the score's."""
        if measurement.invmm is None:
            return None
        alarm = self.taken_by(measurement.id)
        p_value: float | Skipped = Skipped(skipped=NO_CONTROLS)
        if alarm is not None:
            p_value = Skipped(skipped=f"not used because of an alarm: {alarm.message}")
        elif self.bank is not None and self.bank.controls:
            p_value = self.bank.invmm_p_value(measurement.invmm.kl_per_dimension, self.evidence.protocol)
        return InvMMFinding(**dict(measurement.invmm), p_value=p_value)

    def _over_folder(self, p_values: Mapping[str, float | Skipped]) -> dict[str, float | Skipped]:
        """Compute q-values; near-duplicates are one hypothesis, and none gets a smaller q than its representative."""
        known = {name: p for name, p in p_values.items() if not isinstance(p, Skipped)}
        family = [p for name, p in known.items() if self.representatives[name] == name]
        corrected: dict[str, float | Skipped] = {}
        for name, p_value in p_values.items():
            lead = known.get(self.representatives[name])
            if isinstance(p_value, Skipped):
                corrected[name] = p_value
            elif lead is None:
                corrected[name] = Skipped(skipped=f"its representative {self.representatives[name]} has no p-value")
            else:
                corrected[name] = q_value_at(max(p_value, lead), family, self.policy.correction)
        return corrected

    def _replications(self) -> dict[str, list[Replication]]:
        ladders = {
            m.id: {
                rung: measure_replication(m, rung, self.evidence)
                for rung in Rung
                if isinstance(m.ladder(rung), RungMeasurement)
            }
            for m in self.measurements
        }
        copies = self._tested(ladders, deciding_p_value)
        nulls = {rung: build_part_null(self.bank, rung, self.policy.copy_level) for rung in Rung}
        in_parts = {
            m.id: {rung: measure_part(m, rung, self.evidence, nulls[rung]) for rung in ladders[m.id]}
            for m in self.measurements
        }
        compared = {
            name: {rung: part for rung, part in parts.items() if not isinstance(part, Skipped)}
            for name, parts in in_parts.items()
        }
        parts = self._tested(compared, lambda part: part.p_value)
        return {
            name: [
                copy.model_copy(update={"part": parts[name].get(rung, in_parts[name][rung])})
                for rung, copy in ladder.items()
            ]
            for name, ladder in copies.items()
        }

    def _tested(
        self, ladders: Mapping[str, Mapping[Rung, Claim]], p_value_of: Callable[[Claim], float | Skipped]
    ) -> dict[str, dict[Rung, Claim]]:
        """Decide one family of claims: q-values and what stands, for text rungs first and then for inverted ones."""
        adjusted = {name: _ladder_p_values(ladder, p_value_of) for name, ladder in ladders.items()}
        families: dict[str, float | Skipped] = {
            name: min(ps.values(), default=Skipped(skipped="no text rung")) for name, ps in adjusted.items()
        }
        whole = self._over_folder(families)
        family = [
            p for name, p in families.items() if not isinstance(p, Skipped) and self.representatives[name] == name
        ]
        tested: dict[str, dict[Rung, Claim]] = {}
        for name, ladder in ladders.items():
            tested[name] = dict(ladder)
            for rung, claim in ladder.items():
                if rung not in TEXT_RUNGS:
                    continue
                p_value, over_folder = adjusted[name].get(rung), whole[name]
                if p_value is None or isinstance(over_folder, Skipped):
                    reason = p_value_of(claim)
                    update: dict[str, object] = {"q_value": reason if isinstance(reason, Skipped) else over_folder}
                else:
                    q_value = max(over_folder, q_value_at(p_value, family, self.policy.correction))
                    update = {"q_value": q_value, "stands": claim.hits > 0 and q_value <= self.policy.level}
                tested[name][rung] = claim.model_copy(update=update)
            self._test_inverted(name, tested[name])
        return tested

    def _test_inverted(self, name: str, ladder: dict[Rung, Claim]) -> None:
        """Test the score, then the inverted rungs in order; the first that does not stand ends the sequence."""
        q_value = self.q_values[name]
        going = not isinstance(q_value, Skipped) and q_value <= self.policy.level
        for rung in INVERTED_RUNGS:
            if rung not in ladder:
                return
            going = going and exceeds_controls(ladder[rung], self.policy.level)
            ladder[rung] = ladder[rung].model_copy(update={"stands": going})


def _ladder_p_values(ladder: Mapping[Rung, Claim], p_value_of: Callable[[Claim], float | Skipped]) -> dict[Rung, float]:
    """Return the p-values of the text rungs, each times their number (Bonferroni), as any rung may give the claim.

    An image's rungs are fixed before anything is generated.
    """
    texts = {
        rung: p
        for rung, claim in ladder.items()
        if rung in TEXT_RUNGS and not isinstance(p := p_value_of(claim), Skipped)
    }
    rungs = sum(rung in TEXT_RUNGS for rung in ladder)
    return {rung: min(1.0, rungs * p) for rung, p in texts.items()}


def exceeds_controls(claim: Replication | PartReplication, level: float) -> bool:
    """Say whether an inverted rung returns copies more often than the controls do, and closer than most of them."""
    if claim.hits == 0 or isinstance(claim.thresholds, Skipped):
        return False
    if isinstance(claim.control_rate, Skipped) or isinstance(claim.p_value, Skipped):
        return False
    return claim.low > claim.control_rate and claim.p_value <= level


def check_forcing(bank: NullBank, policy: Policy) -> ForcingCheck | Skipped:
    """Apply the rule of the embedding rung to the controls kept out of the bank, with p in place of q.

    Neither copy thresholds nor p-values depend on these controls. The line of score on complexity was fitted on them,
    with two parameters, which centres their p-values very slightly too well.
    """
    if not bank.kept_out:
        return Skipped(skipped="fewer than 80 controls: none was kept out of the bank to check the rule")
    thresholds = bank.thresholds(policy.copy_level)
    if thresholds is None:
        return Skipped(skipped=NO_CONTROLS)
    if policy.legs == "similarity":
        thresholds = CopyThresholds(similarity=thresholds.similarity, distance=1.0)
    control_rate = bank.control_rate(Rung.EMBEDDING, thresholds)
    copies = significant = called = 0
    parts = _forced_parts(bank, policy)
    for control in bank.kept_out:
        seeds = control.rungs.get(Rung.EMBEDDING, [])
        hits = sum(thresholds.is_copy(seed.similarity, seed.distance) for seed in seeds)
        p_value = bank.p_value(control, policy.complexity)
        small = not isinstance(p_value, Skipped) and p_value <= policy.level
        copies += hits > 0
        significant += small
        called += small and hits > 0 and clopper_pearson(hits, len(seeds)).low > control_rate
    return ForcingCheck(n=len(bank.kept_out), copies=copies, significant=significant, called=called, parts=parts)


def _forced_parts(bank: NullBank, policy: Policy) -> int | Skipped:
    """Count the controls kept out of the bank that the rule for parts would call partly replicated."""
    rung = Rung.EMBEDDING
    nulls = bank.part_nulls(rung)
    thresholds = fit_leg_thresholds(nulls, policy.copy_level, "controls")
    if not nulls or isinstance(thresholds, Skipped):
        return NOT_IN_PARTS
    control_rate = bank.part_rate(rung, thresholds)
    called = 0
    for control in bank.kept_out:
        compared = [seed.legs for seed in control.rungs.get(rung, []) if seed.legs]
        best, p_value = find_closest(compared), bank.p_value(control, policy.complexity)
        if best is None or isinstance(p_value, Skipped) or p_value > policy.level:
            continue
        hits = sum(thresholds.exceeded_by(legs) for legs in compared)
        called += (
            hits > 0
            and leg_p_value(best, nulls) <= policy.level
            and clopper_pearson(hits, len(compared)).low > control_rate
        )
    return called

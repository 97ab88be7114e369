"""What is decided over a whole folder. It needs records alone, so any run can be decided again.

Every image has one test (`imgaudit.decision.joint_test`), whose q-value over the folder is the only way to a finding
against the controls: one level holds for all findings together. For an image whose q-value is at or below the level,
each claim is then looked at by itself:

text        "a text rung reproduces it": copies, closer than all but a share of the controls' and than coincidence
inversion   "an inverted rung reproduces it": copies, more often than the controls', the embedding before the tokens
part        "a generated image contains a part of it": the same, with both legs of a comparison in parts

One claim needs no controls: at least half of the images generated for a text are near-identical to the image by an
absolute standard, and coincidence does not explain it.

Near copies among the targets count as one hypothesis. A representative, chosen before any score, is tested for the
group; a claim on another member stands only if it holds for the representative and for the member itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from imgaudit.decision.alarms import find_bank_alarms, find_blind_alarms, find_image_alarms, find_near_controls
from imgaudit.decision.caption_score import rank_caption, score_captions
from imgaudit.decision.controls import make_control
from imgaudit.decision.forcing import check_forcing
from imgaudit.decision.funnel import place_funnel
from imgaudit.decision.joint_test import JointTest, share_near_identical
from imgaudit.decision.model_alarms import find_model_alarms
from imgaudit.decision.near_duplicates import choose_representatives
from imgaudit.decision.null_bank import NullBank
from imgaudit.decision.part_replication import build_part_null, measure_part
from imgaudit.decision.replication import (
    CAPTIONS_DIFFER,
    NO_CONTROLS,
    Evidence,
    count_by_absolute_standard,
    deciding_p_value,
    exceeds_controls,
    measure_replication,
)
from imgaudit.decision.set_level import compare_set
from imgaudit.schema.caption_score import CaptionScore
from imgaudit.schema.findings import Alarm, AlarmCode, AlarmEffect, InvMMFinding
from imgaudit.schema.records import (
    INVERTED_RUNGS,
    TEXT_RUNGS,
    Measurement,
    NotAsked,
    Rung,
    RungMeasurement,
    Skipped,
    is_at_most,
)
from imgaudit.schema.replication import PartReplication, Replication
from imgaudit.schema.set_level import SetLevel
from imgaudit.statistics import controls_needed, q_value_at

MOSTLY = 0.5
"""Share of a text's generated images that must be near-identical to the image for a claim that needs no controls."""


class FolderDecision:
    """A decided folder: its alarms, the controls that count for it, p-values, q-values and replication."""

    def __init__(self, measurements: Sequence[Measurement], evidence: Evidence) -> None:
        self.measurements = measurements
        self.policy = evidence.policy
        bank = evidence.bank.by_work() if evidence.bank else None
        self.works_bank = bank
        self.near_bank = find_near_controls(measurements, bank) if bank else {}
        if bank is not None:
            copies = {name for near in self.near_bank.values() for name in near}
            bank = bank.exclude({m.sha256 for m in measurements} | copies).compared_by(evidence.copy_descriptor)
        self.bank = bank
        ids = [m.id for m in measurements]
        grouped = self.policy.near_duplicates == "grouped"
        self.representatives = choose_representatives(ids, evidence.groups if grouped else ())
        # Near copies of one work are no independent images, in a permutation test either.
        self.works = [m for m in measurements if self.representatives[m.id] == m.id]
        self.forcing = check_forcing(bank, self.policy) if bank else Skipped(skipped=NO_CONTROLS)
        self.alarms = find_model_alarms(evidence.model_checks)
        if bank is not None:
            self.alarms += find_blind_alarms(self.works, bank) + find_bank_alarms(bank, self.policy, self.forcing)
        blind = any(alarm.code is AlarmCode.BLIND_CAPTIONS for alarm in self.alarms)
        takes = self.policy.alarms == "take_p_values"
        self.evidence = replace(evidence, bank=bank, captions_comparable=not (blind and takes))
        self.image_alarms = {
            m.id: find_image_alarms(
                m, bank, representative=self.representatives[m.id],
                near_duplicates=evidence.near_duplicates.get(m.id, ()), near_bank=self.near_bank,
            )
            for m in measurements
        }  # fmt: skip
        self.strengths = {m.id: make_control(m) for m in measurements}
        self.joint_test: JointTest | None = None
        if bank is not None:
            bank.require_baseline(list(self.strengths.values()))
            self.joint_test = JointTest(
                bank, self.policy, captions_comparable=self.evidence.captions_comparable,
                funnel=place_funnel(self.works_bank, evidence.protocol),
            )  # fmt: skip
        self.not_asked = {m.id: m.not_asked for m in measurements}
        self.score_p_values = {m.id: self._p_value(m, score_alone=True) for m in measurements}
        self.p_values = {m.id: self._p_value(m) for m in measurements}
        self.q_values = self._over_folder(self.p_values)
        self.replications = self._replications()

    @property
    def hypotheses(self) -> int:
        """Number of images that count in the folder's correction."""
        return sum(name == representative for name, representative in self.representatives.items())

    @cached_property
    def set_level(self) -> SetLevel | Skipped:
        """The test of the whole portfolio as one set; see `imgaudit.decision.set_level`.

        What takes p-values takes this one under every policy: small differences between works and controls that add up
        are what it is made to see.
        """
        if self.bank is None or not self.bank.controls:
            return Skipped(skipped=NO_CONTROLS)
        if alarm := _find_taking(self.alarms):
            return Skipped(skipped=f"not used because of an alarm: {alarm.message}")
        works = choose_representatives([m.id for m in self.measurements], self.evidence.groups)
        given = sorted(set(works.values()))
        kept = [self.strengths[name] for name in given if not _find_taking(self.image_alarms[name])]
        captions = all(alarm.code is not AlarmCode.BLIND_CAPTIONS for alarm in self.alarms)
        return compare_set(kept, self.bank, self.policy.complexity, captions=captions, given=len(given))

    def taken_by(self, image_id: str) -> Alarm | None:
        """Return the alarm because of which the image's p-value is not used, or None."""
        if self.policy.alarms != "take_p_values":
            return None
        return _find_taking([*self.alarms, *self.image_alarms[image_id]])

    def _p_value(self, measurement: Measurement, *, score_alone: bool = False) -> float | Skipped:
        if self.bank is None or self.joint_test is None or not self.bank.controls:
            return Skipped(skipped=NO_CONTROLS)
        if alarm := self.taken_by(measurement.id):
            return Skipped(skipped=f"not used because of an alarm: {alarm.message}")
        edges = self._edges(self.bank)
        if score_alone:
            return self.bank.p_value(measurement, self.policy.complexity, edges)
        return self.joint_test.p_value(self.strengths[measurement.id], edges)

    def _edges(self, bank: NullBank) -> list[float]:
        """Return the edges between bins of complexity; none where the policy has one bin or a bin too few controls."""
        return bank.bins(self.policy.bins, controls_needed(max(1, len(self.measurements)), 1, self.policy.level))

    def caption_score(self, measurement: Measurement) -> CaptionScore | Skipped | None:
        """Rank the score under the image's caption among the controls' under theirs; None where it was not measured."""
        error, own, complexity = measurement.caption_error, self.strengths[measurement.id], self.policy.complexity
        if error is None or isinstance(error, Skipped):
            return error
        if self.bank is None or not self.bank.controls:
            none = Skipped(skipped=NO_CONTROLS)
            return CaptionScore(log_ratio=error.log_ratio, score=none, p_value=none, controls=0)
        [score] = score_captions([own], self.bank, complexity)
        p_value, controls = rank_caption(own, self.bank, complexity, self._edges(self.bank))
        if alarm := self.taken_by(measurement.id):
            p_value = Skipped(skipped=f"not used because of an alarm: {alarm.message}")
        elif not self.evidence.captions_comparable:
            p_value = CAPTIONS_DIFFER
        return CaptionScore(log_ratio=error.log_ratio, score=score, p_value=p_value, controls=controls)

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
        text_q_values = self._text_q_values()
        nulls = {rung: build_part_null(self.bank, rung, self.policy.copy_level) for rung in Rung}
        found = {}
        for measurement in self.measurements:
            name, ladder = measurement.id, []
            copies = [self._copies[name][rung] for rung in Rung if rung in self._copies[name]]
            for copy in copies:
                part = measure_part(measurement, copy.rung, self.evidence, nulls[copy.rung])
                if isinstance(part, PartReplication):
                    part = part.model_copy(update={"q_value": self.q_values[name]})
                q_value = text_q_values[name].get(copy.rung, copy.q_value)
                ladder.append(copy.model_copy(update={"part": part, "q_value": q_value}))
            found[name] = self._decide_ladder(measurement, ladder)
        return found

    @cached_property
    def _copies(self) -> dict[str, dict[Rung, Replication]]:
        return {
            m.id: {
                rung: measure_replication(m, rung, self.evidence)
                for rung in Rung
                if isinstance(m.ladder(rung), RungMeasurement)
            }
            for m in self.measurements
        }

    def _text_q_values(self) -> dict[str, dict[Rung, float | Skipped]]:
        """Correct the p-values of text rungs for an image's text rungs (Bonferroni) and over the folder."""
        adjusted = {name: _text_p_values(ladder) for name, ladder in self._copies.items()}
        smallest: dict[str, float | Skipped] = {
            name: min(p.values(), default=Skipped(skipped="no text rung")) for name, p in adjusted.items()
        }
        # Texts that a funnel left out are tests all the same: the best of few would be told from too few.
        for measurement in self.measurements:
            if any(isinstance(measurement.ladder(rung), NotAsked) for rung in TEXT_RUNGS):
                smallest[measurement.id] = 1.0
        whole = self._over_folder(smallest)
        family = [
            p for name, p in smallest.items() if not isinstance(p, Skipped) and self.representatives[name] == name
        ]
        q_values: dict[str, dict[Rung, float | Skipped]] = {}
        for name, ladder in self._copies.items():
            over_folder = whole[name]
            q_values[name] = {rung: Skipped(skipped="only texts have one") for rung in INVERTED_RUNGS}
            for rung in ladder.keys() & set(TEXT_RUNGS):
                own = adjusted[name].get(rung)
                if own is None or isinstance(over_folder, Skipped):
                    reason = ladder[rung].coincidence_p_value
                    q_values[name][rung] = reason if isinstance(reason, Skipped) else over_folder
                else:
                    q_values[name][rung] = max(over_folder, q_value_at(own, family, self.policy.correction))
        return q_values

    def _decide_ladder(self, measurement: Measurement, ladder: list[Replication]) -> list[Replication]:
        """Say which claims on an image stand: against the controls for its own q-value, and by the absolute standard.

        Of the inverted rungs, the first that does not stand ends the sequence.
        """
        name, level = measurement.id, self.policy.level
        stands_out = is_at_most(self.q_values[name], level)
        texts = sum(copy.rung in TEXT_RUNGS for copy in ladder)
        decided = {copy.rung: copy for copy in ladder}
        for copy in ladder:
            if copy.rung in TEXT_RUNGS:
                absolute = self.is_returned_by_text(name, copy)
                whole = stands_out and copy.hits > 0 and is_at_most(deciding_p_value(copy), level / texts)
                part = copy.part
                if isinstance(part, PartReplication):
                    stands = stands_out and part.hits > 0 and is_at_most(part.p_value, level / texts)
                    part = part.model_copy(update={"stands": stands})
                measured = measurement.ladder(copy.rung)
                if absolute and isinstance(measured, RungMeasurement):
                    copy = count_by_absolute_standard(copy, measured, self.evidence)
                decided[copy.rung] = copy.model_copy(update={"stands": whole or absolute, "part": part})
        whole = part_goes_on = stands_out
        for rung in INVERTED_RUNGS:
            if rung not in decided:
                break
            copy, part = decided[rung], decided[rung].part
            whole = whole and exceeds_controls(copy, level)
            if isinstance(part, PartReplication):
                part_goes_on = part_goes_on and exceeds_controls(part, level)
                part = part.model_copy(update={"stands": part_goes_on})
            decided[rung] = copy.model_copy(update={"stands": whole, "part": part})
        return [decided[copy.rung] for copy in ladder]

    def is_returned_by_text(self, name: str, copy: Replication) -> bool:
        """Say whether a text returns the image by the absolute standard, which needs no controls.

        At least half of the images generated for it are near-identical to the target, two or more where one of several
        texts is looked at, and the q-value of its text is at or below the level.
        """
        if not is_at_most(copy.q_value, self.policy.level):
            return False
        own = self.strengths[name]
        texts = sorted({seed.text for seed in own.rungs.get(copy.rung, [])})
        single = [seeds for text in texts if len(seeds := own.leading(copy.rung, [text])) > 1]
        return any(share_near_identical(seeds) >= MOSTLY for seeds in (own.leading(copy.rung), *single))


def _find_taking(alarms: Sequence[Alarm]) -> Alarm | None:
    """Return the first alarm that takes p-values, or None."""
    return next((alarm for alarm in alarms if alarm.effect is AlarmEffect.TAKES_P_VALUES), None)


def _text_p_values(ladder: Mapping[Rung, Replication]) -> dict[Rung, float]:
    """Return a p-value for each text rung, times their number, as any rung may give the claim.

    It is coincidence's, or the controls' where there is no other image to compare with. An image's rungs are fixed
    before anything is generated.
    """
    known: dict[Rung, float] = {}
    texts = [rung for rung in ladder if rung in TEXT_RUNGS]
    for rung in texts:
        p_value = ladder[rung].coincidence_p_value
        p_value = ladder[rung].p_value if isinstance(p_value, Skipped) else p_value
        if not isinstance(p_value, Skipped):
            known[rung] = min(1.0, len(texts) * p_value)
    return known

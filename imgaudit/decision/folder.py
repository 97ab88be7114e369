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

from imgaudit.decision.alarms import (
    LookedAt,
    describe_blind_comparison,
    find_bank_alarms,
    find_blind_alarms,
    find_image_alarms,
    find_near_controls,
)
from imgaudit.decision.caption_score import rank_caption, score_captions
from imgaudit.decision.controls import Control, make_control
from imgaudit.decision.forcing import check_forcing
from imgaudit.decision.funnel import place_funnel
from imgaudit.decision.joint_test import JointTest, share_near_identical
from imgaudit.decision.model_alarms import find_model_alarms
from imgaudit.decision.near_duplicates import choose_representatives
from imgaudit.decision.null_bank import NullBank
from imgaudit.decision.part_replication import PartNull, build_part_null, measure_part
from imgaudit.decision.replication import (
    CAPTIONS_DIFFER,
    NO_CONTROLS,
    Evidence,
    count_by_absolute_standard,
    deciding_p_value,
    exceeds_controls,
    measure_replication,
    measure_text_p_value,
)
from imgaudit.decision.set_level import SetScores, compare_set
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
from imgaudit.statistics import FamilyQValues, controls_needed

MOSTLY = 0.5
"""Share of a text's generated images that must be near-identical to the image for a claim that needs no controls."""


class FolderDecision:
    """A decided folder: its alarms, the controls that count for it, p-values and q-values.

    Of an image numbers are kept, and not what was generated for it: that is counted when its finding is made
    (`replications`).
    """

    def __init__(self, measurements: Sequence[Measurement], evidence: Evidence) -> None:
        """Decide a folder.

        measurements:  walked over twice here, and once more for findings; they can be read from disk each time
        """
        self.measurements = measurements
        self.policy = evidence.policy
        bank = evidence.bank.by_work() if evidence.bank else None
        self.works_bank = bank
        looks = {m.id: LookedAt.of(m) for m in measurements}
        self.near_bank = find_near_controls(looks.values(), bank) if bank else {}
        if bank is not None:
            copies = {name for near in self.near_bank.values() for name in near}
            bank = bank.exclude({one.sha256 for one in looks.values()} | copies).compared_by(evidence.copy_descriptor)
        self.bank = bank
        grouped = self.policy.near_duplicates == "grouped"
        self.representatives = choose_representatives(list(looks), evidence.groups if grouped else ())
        # Near copies of one work are no independent images, in a permutation test either.
        works = [one for name, one in looks.items() if self.representatives[name] == name]
        del looks
        self.forcing = check_forcing(bank, self.policy) if bank else Skipped(skipped=NO_CONTROLS)
        self.alarms = find_model_alarms(evidence.model_checks)
        if bank is not None:
            self.alarms += find_blind_alarms(works, bank) + find_bank_alarms(bank, self.policy, self.forcing)
        self.blind_comparison = describe_blind_comparison(works, bank) if bank else None
        blind = any(alarm.code is AlarmCode.BLIND_CAPTIONS for alarm in self.alarms)
        takes = self.policy.alarms == "take_p_values"
        self.evidence = replace(evidence, bank=bank, captions_comparable=not (blind and takes))
        del works
        self._decide_images()

    def _decide_images(self) -> None:
        """Compare every image with the controls, and correct p-values over the folder."""
        bank = self.bank
        self.image_alarms: dict[str, list[Alarm]] = {}
        self.not_asked: dict[str, str] = {}
        self.score_p_values: dict[str, float | Skipped] = {}
        self.p_values: dict[str, float | Skipped] = {}
        self._set_scores: dict[str, SetScores] = {}
        self._text_p_values: dict[str, dict[Rung, float]] = {}
        smallest: dict[str, float | Skipped] = {}
        baselines = set[str]()
        test = None
        if bank is not None:
            funnel = place_funnel(self.works_bank, self.evidence.protocol)
            comparable = self.evidence.captions_comparable
            test = JointTest(bank, self.policy, captions_comparable=comparable, funnel=funnel)
        for m in self.measurements:
            own = make_control(m)
            if bank is not None and own.baseline not in baselines and not isinstance(own.log_ratio, Skipped):
                bank.require_baseline([own])
                baselines.add(own.baseline)
            self.image_alarms[m.id] = find_image_alarms(
                m, bank, representative=self.representatives[m.id],
                near_duplicates=self.evidence.near_duplicates.get(m.id, ()), near_bank=self.near_bank,
            )  # fmt: skip
            self.not_asked[m.id] = m.not_asked
            self._set_scores[m.id] = SetScores(own.complexity, own.log_ratio, own.caption_log_ratio, own.is_scored)
            self.score_p_values[m.id], self.p_values[m.id] = self._compare_with_controls(own, m.id, test)
            self._text_p_values[m.id] = adjusted = _adjust_text_p_values(m, self.evidence)
            # Texts that a funnel left out are tests all the same: the best of few would be told from too few.
            left_out = any(isinstance(m.ladder(rung), NotAsked) for rung in TEXT_RUNGS)
            none = Skipped(skipped="no text rung")
            smallest[m.id] = 1.0 if left_out else min(adjusted.values(), default=none)
        self.q_values = self._over_folder(self.p_values)
        self._smallest_text_q_values = self._over_folder(smallest)
        self._text_family = FamilyQValues(self._find_family(smallest), self.policy.correction)

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
        works = choose_representatives(list(self.representatives), self.evidence.groups)
        given = sorted(set(works.values()))
        kept = [self._set_scores[name] for name in given if not _find_taking(self.image_alarms[name])]
        captions = all(alarm.code is not AlarmCode.BLIND_CAPTIONS for alarm in self.alarms)
        return compare_set(kept, self.bank, self.policy.complexity, captions=captions, given=len(given))

    def taken_by(self, image_id: str) -> Alarm | None:
        """Return the alarm because of which the image's p-value is not used, or None."""
        if self.policy.alarms != "take_p_values":
            return None
        return _find_taking([*self.alarms, *self.image_alarms[image_id]])

    def _compare_with_controls(
        self, own: Control, name: str, test: JointTest | None
    ) -> tuple[float | Skipped, float | Skipped]:
        """Return the p-value of an image's score alone, and that of its test."""
        reason = ""
        if self.bank is None or test is None or not self.bank.controls:
            reason = NO_CONTROLS
        elif alarm := self.taken_by(name):
            reason = f"not used because of an alarm: {alarm.message}"
        if self.bank is None or test is None or reason:
            return Skipped(skipped=reason), Skipped(skipped=reason)
        edges = self._edges(self.bank)
        return self.bank.p_value(own, self.policy.complexity, edges), test.p_value(own, edges)

    def _edges(self, bank: NullBank) -> list[float]:
        """Return the edges between bins of complexity; none where the policy has one bin or a bin too few controls."""
        return bank.bins(self.policy.bins, controls_needed(max(1, len(self.measurements)), 1, self.policy.level))

    def caption_score(self, measurement: Measurement) -> CaptionScore | Skipped | None:
        """Rank the score under the image's caption among the controls' under theirs; None where it was not measured."""
        error, complexity = measurement.caption_error, self.policy.complexity
        if error is None or isinstance(error, Skipped):
            return error
        if self.bank is None or not self.bank.controls:
            none = Skipped(skipped=NO_CONTROLS)
            return CaptionScore(log_ratio=error.log_ratio, score=none, p_value=none, controls=0)
        own = make_control(measurement)
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
            p_value = self.bank.invmm_p_value(measurement.invmm, self.evidence.protocol)
        return InvMMFinding(**dict(measurement.invmm), p_value=p_value)

    def _over_folder(self, p_values: Mapping[str, float | Skipped]) -> dict[str, float | Skipped]:
        """Compute q-values; near-duplicates are one hypothesis, and none gets a smaller q than its representative."""
        family = FamilyQValues(self._find_family(p_values), self.policy.correction)
        corrected: dict[str, float | Skipped] = {}
        for name, p_value in p_values.items():
            lead = p_values[self.representatives[name]]
            if isinstance(p_value, Skipped):
                corrected[name] = p_value
            elif isinstance(lead, Skipped):
                corrected[name] = Skipped(skipped=f"its representative {self.representatives[name]} has no p-value")
            else:
                corrected[name] = family.at(max(p_value, lead))
        return corrected

    def _find_family(self, p_values: Mapping[str, float | Skipped]) -> list[float]:
        """Return the p-values of the representatives, which are what is corrected for."""
        return [
            p for name, p in p_values.items() if not isinstance(p, Skipped) and self.representatives[name] == name
        ]  # fmt: skip

    def replications(self, measurement: Measurement) -> list[Replication]:
        """Count what every rung returned of an image, and say which claims on it stand."""
        name, ladder = measurement.id, []
        rungs = [rung for rung in Rung if isinstance(measurement.ladder(rung), RungMeasurement)]
        for copy in [measure_replication(measurement, rung, self.evidence) for rung in rungs]:
            part = measure_part(measurement, copy.rung, self.evidence, self._part_nulls[copy.rung])
            if isinstance(part, PartReplication):
                part = part.model_copy(update={"q_value": self.q_values[name]})
            q_value = self._text_q_value(name, copy)
            ladder.append(copy.model_copy(update={"part": part, "q_value": q_value}))
        return self._decide_ladder(measurement, ladder)

    @cached_property
    def _part_nulls(self) -> dict[Rung, PartNull]:
        return {rung: build_part_null(self.bank, rung, self.policy.copy_level) for rung in Rung}

    def _text_q_value(self, name: str, copy: Replication) -> float | Skipped:
        """Correct the p-value of a text rung for an image's text rungs (Bonferroni) and over the folder."""
        if copy.rung in INVERTED_RUNGS:
            return Skipped(skipped="only texts have one")
        if copy.rung not in TEXT_RUNGS:
            return copy.q_value
        own, over_folder = self._text_p_values[name].get(copy.rung), self._smallest_text_q_values[name]
        if own is None or isinstance(over_folder, Skipped):
            reason = copy.coincidence_p_value
            return reason if isinstance(reason, Skipped) else over_folder
        return max(over_folder, self._text_family.at(own))

    def _decide_ladder(self, measurement: Measurement, ladder: list[Replication]) -> list[Replication]:
        """Say which claims on an image stand: against the controls for its own q-value, and by the absolute standard.

        Of the inverted rungs, the first that does not stand ends the sequence.
        """
        name, level = measurement.id, self.policy.level
        stands_out, own = is_at_most(self.q_values[name], level), make_control(measurement)
        texts = sum(copy.rung in TEXT_RUNGS for copy in ladder)
        decided = {copy.rung: copy for copy in ladder}
        for copy in ladder:
            if copy.rung in TEXT_RUNGS:
                absolute = self._is_returned_by_text(own, copy)
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

    def _is_returned_by_text(self, own: Control, copy: Replication) -> bool:
        """Say whether a text returns the image by the absolute standard, which needs no controls.

        At least half of the images generated for it are near-identical to the target, two or more where one of several
        texts is looked at, and the q-value of its text is at or below the level.
        """
        if not is_at_most(copy.q_value, self.policy.level):
            return False
        texts = sorted({seed.text for seed in own.rungs.get(copy.rung, [])})
        single = [seeds for text in texts if len(seeds := own.leading(copy.rung, [text])) > 1]
        return any(share_near_identical(seeds) >= MOSTLY for seeds in (own.leading(copy.rung), *single))


def _find_taking(alarms: Sequence[Alarm]) -> Alarm | None:
    """Return the first alarm that takes p-values, or None."""
    return next((alarm for alarm in alarms if alarm.effect is AlarmEffect.TAKES_P_VALUES), None)


def _adjust_text_p_values(measurement: Measurement, evidence: Evidence) -> dict[Rung, float]:
    """Return a p-value for each text rung, times their number, as any rung may give the claim.

    An image's rungs are fixed before anything is generated.
    """
    texts = [rung for rung in TEXT_RUNGS if isinstance(measurement.ladder(rung), RungMeasurement)]
    known = {rung: measure_text_p_value(measurement, rung, evidence) for rung in texts}
    return {rung: min(1.0, len(texts) * p) for rung, p in known.items() if not isinstance(p, Skipped)}

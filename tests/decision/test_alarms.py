"""Every validity alarm, tripped and not tripped."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from imgaudit.decision.alarms import find_image_alarms, find_near_controls
from imgaudit.decision.blind_baseline import describe_text
from imgaudit.decision.controls import ControlSeed
from imgaudit.decision.folder import FolderDecision
from imgaudit.decision.null_bank import NullBank
from imgaudit.decision.replication import Evidence
from imgaudit.decision.verdict import conclude_folder
from imgaudit.runs.summary import summarise
from imgaudit.schema.error_checks import ForcingCheck
from imgaudit.schema.findings import AlarmCode, AlarmEffect, Verdict
from imgaudit.schema.policy import Policy
from imgaudit.schema.records import Measurement, Rung, RungMeasurement, Skipped
from tests.support.records import PROTOCOL, bank, measurement, rung

COPY, MISS = (0.99, 0.05), (0.4, 0.4)


def decision(targets: Sequence[Measurement], null: NullBank | None, **options: Any) -> FolderDecision:
    policy = options.pop("policy", Policy())
    return FolderDecision(targets, Evidence(null, PROTOCOL, policy, **options))


def codes(alarms: Sequence[Any]) -> list[AlarmCode]:
    return [alarm.code for alarm in alarms]


def rows(generator: np.random.Generator, count: int, shift: float = 0.0) -> list[dict[str, float]]:
    values = generator.normal(size=(count, 8))
    values[:, 0] += shift
    return [dict(zip("abcdefgh", map(float, row), strict=True)) for row in values]


def shifted_folder(shift: float) -> tuple[list[Measurement], NullBank]:
    generator = np.random.default_rng(2)
    targets = [
        measurement(f"t{n}", 2.0, [COPY] * 8, [COPY] * 8 if n == 0 else [MISS] * 8, features=row)
        for n, row in enumerate(rows(generator, 30, shift))
    ]
    null = bank(199)
    controls = [c.model_copy(update={"features": f}) for c, f in zip(null.controls, rows(generator, 199), strict=True)]
    return targets, null.model_copy(update={"controls": controls})


def test_a_shift_without_the_model_takes_p_values_and_leaves_a_replica_from_a_caption() -> None:
    targets, null = shifted_folder(3.0)
    decided = decision(targets, null)
    assert codes(decided.alarms) == [AlarmCode.BLIND_BASELINE]
    findings = conclude_folder(decided)
    assert isinstance(findings[1].p_value, Skipped) and "not used because of an alarm" in findings[1].p_value.skipped
    assert findings[1].verdict is Verdict.INCONCLUSIVE
    only_warned = conclude_folder(decision(targets, null, policy=Policy(alarms="only_warn")))
    assert only_warned[1].verdict is Verdict.REPLICATED_BY_INVERSION
    assert not decision(*shifted_folder(0.0)).alarms


def test_captions_of_another_make_are_not_compared_with_the_controls() -> None:
    targets = [measurement(f"t{n}", 0.1, [MISS] * 8, [COPY] * 8) for n in range(25)]
    null = bank(199)
    machine = describe_text("an image of a thing on a white background")
    person = describe_text("t")
    noise = np.random.default_rng(0).normal(scale=0.01, size=199)
    texts = [{key: value + n for key, value in machine.items()} for n in noise]
    null = null.model_copy(
        update={
            "controls": [c.model_copy(update={"text_features": t}) for c, t in zip(null.controls, texts, strict=True)]
        }
    )
    assert person != machine
    decided = decision(targets, null)
    assert codes(decided.alarms) == [AlarmCode.BLIND_CAPTIONS]
    caption = decided.replications(targets[0])[0]
    assert isinstance(caption.p_value, Skipped) and not caption.stands
    assert not decision(targets, bank(199)).alarms


@pytest.mark.parametrize("count", [1, 3, 19])
def test_a_few_targets_of_another_kind_lose_their_p_values(count: int) -> None:
    features = [{"red": float(n % 7), "edges": float(n % 5)} for n in range(199)]
    null = bank(199)
    controls = [c.model_copy(update={"features": f}) for c, f in zip(null.controls, features, strict=True)]
    null = null.model_copy(update={"controls": controls})
    targets = [
        measurement(f"t{n}", 0.1, [MISS] * 8).model_copy(update={"features": {"red": 40.0 + n, "edges": 30.0}})
        for n in range(count)
    ]
    decided = decision(targets, null)
    assert codes(decided.alarms) == [AlarmCode.BLIND_BASELINE]
    assert f"{count} targets, 199 controls" in decided.alarms[0].message
    assert all(finding.verdict is Verdict.INCONCLUSIVE for finding in conclude_folder(decided))


@pytest.mark.parametrize(
    ("targets", "controls", "said"),
    [
        (25, 199, "images were compared: 25 targets and 199 controls that count;"),
        (3, 199, "images were compared: 3 targets and 199 controls that count can only show gross differences;"),
        (1, 10, "images were not compared: 1 target and 10 controls that count cannot show a difference;"),
    ],
)
def test_it_is_always_said_what_could_be_compared_without_the_model(targets: int, controls: int, said: str) -> None:
    decided = decision([measurement(f"t{n}", 0.1, [MISS] * 8) for n in range(targets)], bank(controls))
    summary = summarise(conclude_folder(decided), decided, targets)
    assert summary.blind_comparison is not None and said in summary.blind_comparison
    assert "captions were not compared: 0 targets" in summary.blind_comparison


def test_controls_that_were_trained_on_weaken_negatives_only() -> None:
    generator = np.random.default_rng(0)
    scores = [*generator.normal(0, 0.05, 187), *generator.normal(0.5, 0.05, 12)]
    null = bank(199)
    calm = [
        c.model_copy(update={"log_ratio": float(s)})
        for c, s in zip(null.controls, generator.normal(0, 0.05, 199), strict=True)
    ]
    known = replace(null.controls[0].rungs[Rung.EMBEDDING][0], similarity=0.99, distance=0.02)
    controls = [
        c.model_copy(update={"log_ratio": float(s), "rungs": c.rungs if s < 0.3 else {Rung.EMBEDDING: [known] * 8}})
        for c, s in zip(null.controls, scores, strict=True)
    ]
    target = measurement("a", 0.0, [MISS] * 8)
    tripped = decision([target], null.model_copy(update={"controls": controls}))
    assert codes(tripped.alarms) == [AlarmCode.TRAINED_CONTROLS]
    assert tripped.alarms[0].effect is AlarmEffect.WEAKENS_NEGATIVES
    assert re.match(
        "12 of 199 controls score much higher than the others, and the model gives 12 of these back with most seeds: "
        r"it was probably trained on them \(SHA-256 of the files begins with [0-9a-f]{16}, ",
        tripped.alarms[0].message,
    )
    [finding] = conclude_folder(tripped)
    assert finding.verdict is Verdict.INCONCLUSIVE and isinstance(finding.p_value, float)
    quiet = decision([target], null.model_copy(update={"controls": calm}))
    assert not quiet.alarms and conclude_folder(quiet)[0].verdict is Verdict.NOT_REPRODUCED


@pytest.mark.parametrize(
    ("changes", "code", "effect"),
    [
        ({"made_by": "metadata 'parameters'"}, AlarmCode.MADE_BY_A_MODEL, AlarmEffect.TAKES_P_VALUES),
        ({"vae_error": 0.05}, AlarmCode.MADE_BY_A_MODEL, AlarmEffect.TAKES_P_VALUES),
        ({"vae_floor": {"pixel": 0.7, "pdq": 0.5}}, AlarmCode.AUTOENCODER, AlarmEffect.TAKES_P_VALUES),
        ({"vae_floor": {"pixel": 0.85, "pdq": 0.5}}, AlarmCode.AUTOENCODER, AlarmEffect.WARNS),
        ({"error": Skipped(skipped="no null branch")}, AlarmCode.NO_NULL_BRANCH, AlarmEffect.WARNS),
    ],
)
def test_alarms_of_one_image(changes: dict[str, Any], code: AlarmCode, effect: AlarmEffect) -> None:
    tripped = measurement("a", 2.0, [COPY] * 8, [COPY] * 8, **changes)
    quiet = measurement("b", 2.0, [COPY] * 8, [COPY] * 8)
    decided = decision([tripped, quiet], bank(199))
    assert [(alarm.code, alarm.effect) for alarm in decided.image_alarms[tripped.id]] == [(code, effect)]
    assert not decided.image_alarms[quiet.id]
    first, second = conclude_folder(decided)
    assert isinstance(first.p_value, Skipped) is (effect is AlarmEffect.TAKES_P_VALUES)
    assert isinstance(second.p_value, float) and first.verdict is Verdict.REPLICATED


def test_controls_outside_the_bank_that_the_rule_calls_reproduced_take_p_values() -> None:
    null = bank(199)
    forced = [COPY] * 8
    seeds = [ControlSeed(similarity=s, distance=d, guidance_scale=3.0) for s, d in forced]
    known = null.controls[0].model_copy(update={"log_ratio": 3.0, "rungs": {Rung.EMBEDDING: seeds}})
    # Complexity must not explain what is planted, so the line through the controls kept out has to stay flat.
    spread = [
        (known if n % 5 == 0 else null.controls[n]).model_copy(
            update={"sha256": f"kept {n}", "complexity": float(n % 10)}
        )
        for n in range(60)
    ]
    target = measurement("a", 5.0, [COPY] * 8)
    some = decision([target], null.model_copy(update={"kept_out": spread}))
    assert codes(some.alarms) == [AlarmCode.FORCED_CONTROLS]
    assert isinstance(some.forcing, ForcingCheck) and some.forcing.called == 12
    assert isinstance(some.p_values[target.id], Skipped)
    [finding] = conclude_folder(some)
    assert finding.verdict is Verdict.INCONCLUSIVE and "cannot be told from those that were forced" in finding.reason
    calm = [one.model_copy(update={"sha256": f"kept {n}"}) for n, one in enumerate(null.controls[:60])]
    none = decision([target], null.model_copy(update={"kept_out": calm}))
    assert not none.alarms and not isinstance(none.p_values[target.id], Skipped)


def test_too_few_controls_stay_inconclusive_whatever_the_policy() -> None:
    decided = decision([measurement("a", 0.0, [MISS] * 8)], bank(10), policy=Policy(alarms="only_warn"))
    assert conclude_folder(decided)[0].verdict is Verdict.INCONCLUSIVE


def test_a_cut_caption_says_which_encoder_cut_it() -> None:
    target = measurement("a", 0.1, [MISS] * 8, [MISS] * 8)
    cut = rung([MISS] * 8, "long").model_copy(update={"cut_tokens": {"text_encoder": 7}})
    target = target.model_copy(update={"rungs": target.rungs | {Rung.CAPTION: cut}})
    [alarm] = decision([target], bank(199)).image_alarms[target.id]
    assert alarm.code is AlarmCode.CUT_CAPTION and "the last 7 tokens, by text_encoder" in alarm.message
    assert isinstance(target.rungs[Rung.CAPTION], RungMeasurement)


def with_texts(read: int, *rungs: Rung) -> Measurement:
    text = "a small red fox by the river."
    target = measurement("a", 0.1, [MISS] * 8, [MISS] * 8)
    cut = rung([MISS] * 8, text).model_copy(
        update={"cut_tokens": {"clip": 3}, "characters_read": [{"clip": read}], "texts": [text]}
    )
    return target.model_copy(update={"rungs": target.rungs | dict.fromkeys(rungs, cut)})


def test_texts_that_were_cut_give_one_alarm_with_the_words_that_were_not_read() -> None:
    target = with_texts(19, Rung.CAPTION, Rung.PROMPT)
    [alarm] = decision([target], bank(199)).image_alarms[target.id]
    assert alarm.message.count("the last 3 tokens, by clip") == 2 and "“the river.”" in alarm.message
    assert alarm.message.startswith("of the prompt") and "of the caption" in alarm.message


def test_a_paraphrase_that_was_cut_raises_no_alarm_on_a_caption_that_was_not() -> None:
    target = with_texts(19, Rung.PARAPHRASE)
    assert decision([target], bank(199)).image_alarms[target.id] == []


def test_a_text_that_lost_no_word_raises_no_alarm() -> None:
    target = with_texts(28, Rung.CAPTION)
    assert decision([target], bank(199)).image_alarms[target.id] == []


def test_near_duplicates_are_told_by_what_was_measured() -> None:
    found = [find_image_alarms(measurement("a", 0.1, [MISS] * 8), None, representative=lead, near_duplicates=near)
             for lead, near in (("a", [("b", 0.93), ("c", 0.95)]), ("b", [("b", 0.93)]), ("b", []))]  # fmt: skip
    several, one, linked = (alarms[0].message for alarms in found)
    assert several.startswith("2 other images of this folder look like this one (similarity up to 0.950)")
    assert "another image of this folder looks like this one" in one and one.endswith("b represents them")
    assert "look alike, directly or through a third image, or were declared a series" in linked


def test_a_control_that_is_a_near_copy_of_a_target_is_left_out() -> None:
    null = bank(199)
    close = null.controls[3].model_copy(update={"pdq": "0" * 63 + "1"})
    null = null.model_copy(update={"controls": [*null.controls[:3], close, *null.controls[4:]]})
    target = measurement("a", 0.1, [MISS] * 8, pdq="0" * 64)
    assert find_near_controls([target], null) == {target.id: [close.sha256]}
    decided = decision([target], null)
    assert decided.bank is not None and len(decided.bank.controls) == 198
    assert codes(decided.image_alarms[target.id]) == [AlarmCode.NEAR_CONTROLS]
    assert not decision([measurement("b", 0.1, [MISS] * 8, pdq="f" * 64)], null).near_bank

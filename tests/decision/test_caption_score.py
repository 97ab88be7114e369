"""The score under the caption: a leg of the joint test and a p-value of its own, where image and controls have one."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgaudit.decision.caption_score import has_caption_scores, rank_caption, score_captions
from imgaudit.decision.controls import Control, ControlSeed, make_control
from imgaudit.decision.folder import FolderDecision
from imgaudit.decision.joint_test import Design, JointTest
from imgaudit.decision.null_bank import NullBank
from imgaudit.decision.replication import CAPTIONS_DIFFER, Evidence
from imgaudit.decision.verdict import decide
from imgaudit.schema.caption_score import CaptionScore
from imgaudit.schema.findings import AlarmCode, Finding, Verdict
from imgaudit.schema.policy import Policy
from imgaudit.schema.records import Measurement, Rung, Skipped
from tests.support.records import PROTOCOL, bank, curve, digest, measurement

FAR = (0.2, 0.5)
WITHOUT = Skipped(skipped="no caption was given")


def control(name: str, score: float, caption: float | None, complexity: float = 0.0) -> Control:
    seeds = [ControlSeed(similarity=0.3, distance=0.5, guidance_scale=3.0)] * 4
    rungs = {Rung.EMBEDDING: seeds} | ({} if caption is None else {Rung.CAPTION: seeds})
    return Control(
        sha256=digest(name), complexity=complexity, log_ratio=score, caption_log_ratio=caption, by_timestep=[],
        features={}, text_features={}, vae_error=0.3, pdq="", rungs=rungs, texts=dict.fromkeys(rungs, 1),
    )  # fmt: skip


def captioned(count: int, **changes: Any) -> NullBank:
    """A bank of controls whose caption scores are 0, 1/count, ..."""
    controls = [control(f"c{n}", 0.0, n / count) for n in range(count)]
    return bank(0).model_copy(update={"controls": controls} | changes)


def target(name: str, caption: float | Skipped | None, **changes: Any) -> Measurement:
    error = curve(caption) if isinstance(caption, float) else caption
    seeds = None if error is None or isinstance(error, Skipped) else [FAR] * 4
    return measurement(name, 0.0, [FAR] * 4, seeds, caption_error=error, **changes)


def decided(targets: list[Measurement], null: NullBank, policy: Policy | None = None) -> list[Finding]:
    return decide(targets, Evidence(null, PROTOCOL, policy or Policy()))


def test_it_is_ranked_among_the_controls_captions_and_can_make_an_image_stand_out() -> None:
    [known, other] = decided([target("a", 2.0), target("b", 0.495)], captioned(199))
    assert known.caption_score == CaptionScore(log_ratio=2.0, score=2.0, p_value=1 / 200, controls=199)
    assert known.p_value == pytest.approx(1 / 200) and known.score_p_value == 1.0
    # It decides nothing alone: no copy came back.
    assert known.verdict is Verdict.ATYPICAL
    assert isinstance(other.caption_score, CaptionScore) and other.caption_score.p_value == pytest.approx(
        0.51, abs=0.01
    )
    assert other.verdict is Verdict.NOT_REPRODUCED


@pytest.mark.parametrize("caption", [WITHOUT, None])
def test_an_image_without_a_caption_has_the_p_value_that_it_had(caption: Skipped | None) -> None:
    null = captioned(99)
    older = null.model_copy(
        update={"controls": [one.model_copy(update={"caption_log_ratio": None}) for one in null.controls]}
    )
    own = target("a", caption, complexity=0.4)
    for some in (null, older):
        assert JointTest(some, Policy()).design(make_control(own)) == Design(True, (Rung.EMBEDDING,), ())
    findings = [decided([own], some)[0] for some in (null, older)]
    assert findings[0] == findings[1] and findings[0].caption_score == caption
    assert ("caption_score" in findings[0].model_dump()) == (caption is not None)


def test_banks_of_older_versions_are_read_and_give_no_p_value_to_a_caption() -> None:
    values = captioned(99).model_dump(mode="json")
    for one in values["controls"]:
        del one["caption_log_ratio"]
    older = NullBank.model_validate(values)
    assert older.model_dump(mode="json") == values and not has_caption_scores(older)
    own = target("a", 2.0)
    [finding] = decided([own], older)
    [plain] = decided([target("a", 2.0).model_copy(update={"caption_error": None})], older)
    assert finding.p_value == plain.p_value and finding.verdict is plain.verdict
    found = finding.caption_score
    assert isinstance(found, CaptionScore) and isinstance(found.p_value, Skipped) and found.controls == 0
    assert "so measure controls that have captions" in found.p_value.skipped


def test_half_of_the_controls_must_have_one_and_the_others_are_left_out() -> None:
    with_caption = [control(f"c{n}", 0.0, 0.01 * n) for n in range(60)]
    without = [control(f"d{n}", 0.0, None) for n in range(61)]
    own = make_control(target("a", 5.0))
    enough, rare = (bank(0).model_copy(update={"controls": [*with_caption, *some]}) for some in (without[:60], without))
    assert JointTest(enough, Policy()).design(own).caption and not JointTest(rare, Policy()).design(own).caption
    assert rank_caption(own, enough, "residual") == (1 / 61, 60)
    assert JointTest(enough, Policy()).p_value(own) == 1 / 61


def test_what_complexity_explains_is_taken_off_by_the_controls_kept_out() -> None:
    kept_out = [control(f"k{n}", 0.0, 3.0 * n / 20, complexity=n / 20) for n in range(20)]
    null = captioned(99, kept_out=kept_out)
    own = [control("a", 0.0, 3.5, complexity=1.0), control("b", 0.0, None)]
    assert score_captions(own, null, "residual") == [pytest.approx(0.5), -np.inf]
    assert score_captions(own, null, "none") == [3.5, -np.inf]
    # With one fewer the line is flat, as for the score.
    assert score_captions(own, captioned(99, kept_out=kept_out[1:]), "residual")[0] == 3.5


def test_an_alarm_takes_its_p_value_and_captions_written_in_another_way_take_the_leg() -> None:
    [generated] = decided([target("a", 2.0, made_by="a generator")], captioned(199))
    assert isinstance(generated.caption_score, CaptionScore)
    assert isinstance(generated.caption_score.p_value, Skipped)
    assert "image generator" in generated.caption_score.p_value.skipped
    plain = {"digits": 0.0, "words": 1.0}
    null = captioned(199)
    spread = [
        one.model_copy(update={"text_features": {name: v + 0.001 * n for name, v in plain.items()}})
        for n, one in enumerate(null.controls)
    ]
    targets = [target(f"2019 {n} 1234567", 2.0 + n) for n in range(25)]
    shifted = null.model_copy(update={"controls": spread})
    decision = FolderDecision(targets, Evidence(shifted, PROTOCOL, Policy()))
    [alarm] = [one for one in decision.alarms if one.code is AlarmCode.BLIND_CAPTIONS]
    assert "scores under captions are not compared" in alarm.message
    found = decision.caption_score(targets[0])
    assert isinstance(found, CaptionScore) and found.p_value == CAPTIONS_DIFFER and found.score == 2.0
    assert decision.p_values[targets[0].id] == 1.0
    shown = FolderDecision(targets, Evidence(shifted, PROTOCOL, Policy(alarms="only_warn")))
    assert shown.p_values[targets[0].id] == pytest.approx(1 / 200)


def test_without_controls_the_log_ratio_is_told_alone() -> None:
    [finding] = decide([target("a", 2.0)], Evidence(None, PROTOCOL, Policy()))
    found = finding.caption_score
    assert isinstance(found, CaptionScore) and found.log_ratio == 2.0 and found.controls == 0
    assert isinstance(found.score, Skipped) and isinstance(found.p_value, Skipped)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(0, 6), st.booleans())
def test_the_leg_keeps_p_values_valid(seed: int, ties: int, captions: bool) -> None:
    """Each image in turn is put against the others: the share with p <= a is at most a, for every a and any ties.

    Scores, captions and answers depend on each other and on complexity, as those of real images do.
    """
    draw = np.random.default_rng(seed)
    images = []
    for number in range(30):
        common, complexity = draw.normal(), float(draw.normal())
        score, caption = (
            round(float(common + 0.5 * complexity + draw.normal()), 6 if ties == 0 else ties % 2) for _ in range(2)
        )
        images.append(control(f"i{number}", score, caption if captions or number % 3 else None, complexity))
    kept_out = [control(f"k{n}", float(draw.normal()), float(draw.normal()), float(draw.normal())) for n in range(20)]
    p_values = []
    for place, own in enumerate(images):
        others = [one for number, one in enumerate(images) if number != place]
        null = bank(0).model_copy(update={"controls": others, "kept_out": kept_out})
        found = [JointTest(null, Policy()).p_value(own)]
        if own.caption_log_ratio is not None:
            found.append(rank_caption(own, null, "residual")[0])
            assert JointTest(null, Policy()).design(own).caption
        p_values.append(found)
    with_caption = [found for found, one in zip(p_values, images, strict=True) if one.caption_log_ratio is not None]
    for ranked in zip(*with_caption, strict=True):
        ordered, count = np.sort(np.array(ranked, dtype=float)), len(with_caption)
        assert (ordered >= (np.arange(count) + 1) / count - 1e-12).all()

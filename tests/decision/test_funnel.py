from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgaudit.decision.controls import Control, make_control
from imgaudit.decision.funnel import (
    Bounds,
    Funnel,
    count_needed,
    describe_left_out,
    describe_unplaced,
    place_funnel,
)
from imgaudit.decision.joint_test import JointTest
from imgaudit.decision.null_bank import NullBank, count_bank_controls
from imgaudit.decision.replication import Evidence
from imgaudit.decision.verdict import decide
from imgaudit.schema.findings import Verdict
from imgaudit.schema.funnel import FirstLookConfig, FunnelConfig
from imgaudit.schema.image_scores import FirstLook, ImageScores
from imgaudit.schema.policy import Policy
from imgaudit.schema.records import Measurement, NotAsked, Rung, Skipped
from imgaudit.statistics import LinearFit
from tests.decision.test_joint_test import COPY, FAR, bank_of, control
from tests.support.records import PROTOCOL, measurement, rung

FUNNELLED = PROTOCOL.model_copy(update={"funnel": FunnelConfig(share=0.05)})
FLAT = LinearFit(0.0, 0.0, 0)


def funnel_at(bound: float, caption_bounds: tuple[float, float] | None = None) -> Funnel:
    return Funnel(FunnelConfig(share=0.05), None, Bounds(FLAT, bound, FLAT, caption_bounds))


def looking_at(look: float, score: float, look_captions: tuple[float, float] | None = None) -> Funnel:
    """A funnel with bounds of the first look and of the score."""
    config = FunnelConfig(share=0.05, first_look=FirstLookConfig(share=0.25))
    return Funnel(config, Bounds(FLAT, look, FLAT, look_captions), Bounds(FLAT, score, FLAT, None))


def look(log_ratio: float, caption: float | None = None, steps: int = 2, draws: int = 16) -> FirstLook:
    return FirstLook(steps=steps, draws=draws, log_ratio=log_ratio, caption_log_ratio=caption)


REASON = describe_left_out(funnel_at(0.5), captioned=False)


def kept_out(scores: Sequence[float]) -> NullBank:
    controls = [control(f"control {n}", n / 240, 0.3, 0.3) for n in range(240)]
    left = [control(f"kept out {n}", score, 0.3, 0.3) for n, score in enumerate(scores)]
    # Flat complexity: every score is its log ratio less the mean of those kept out.
    return bank_of(controls).model_copy(update={"kept_out": left})


def left_out(name: str, log_ratio: float, texts: Sequence[str] = ("a caption",)) -> Measurement:
    asked = {
        Rung.PROMPT: Skipped(skipped="no prompt was given"),
        Rung.CAPTION: NotAsked(skipped=REASON, texts=list(texts)),
        Rung.EMBEDDING: NotAsked(skipped=REASON, texts=[]),
    }
    return measurement(name, log_ratio, [FAR]).model_copy(update={"rungs": asked})


def test_the_bound_is_a_high_score_of_the_controls_kept_out() -> None:
    bank = kept_out([n / 80 for n in range(80)])
    funnel = place_funnel(bank, FUNNELLED)
    assert funnel is not None
    scores = sorted((bank.score(one) for one in bank.kept_out), reverse=True)
    # k = 0.05 x 81 rounded down = 4: the fourth highest, and three of 80 are above it.
    assert funnel.score.bound == scores[3] and funnel.first_look is None
    assert sum(funnel.asks(one) for one in bank.kept_out) == 3
    unscored = bank.controls[0].model_copy(update={"log_ratio": Skipped(skipped="no score")})
    assert funnel.asks(unscored)
    # Where a control that counts has no score, none can be compared, and every image is asked.
    assert place_funnel(bank.model_copy(update={"controls": [unscored, *bank.controls[1:]]}), FUNNELLED) is None


def test_an_image_with_a_caption_is_asked_for_either_score() -> None:
    funnel = funnel_at(0.5, (0.7, 0.2))
    asked = [
        funnel.asks(ImageScores(0.0, score, caption))
        for score, caption in ((0.6, None), (0.5, None), (0.6, 0.2), (0.71, 0.0), (0.0, 0.21))
    ]
    assert asked == [True, False, False, True, True]
    # A control is judged by the rule of the target.
    assert funnel.asks(ImageScores(0.0, 0.6, 0.0), captioned=False)
    assert not funnel.asks(ImageScores(0.0, 0.6, None), captioned=True)
    # Without bounds for captions every image with one is asked.
    assert funnel_at(0.5).asks(ImageScores(0.0, 0.0, 0.0))


def test_bounds_for_captions_are_placed_at_half_the_share() -> None:
    bank = kept_out([n / 80 for n in range(80)])
    with_captions = [
        one.model_copy(update={"caption_log_ratio": float(n)}) for n, one in enumerate(bank.kept_out)
    ]  # fmt: skip
    bank = bank.model_copy(update={"kept_out": with_captions})
    funnel = place_funnel(bank, FUNNELLED)
    assert funnel is not None and funnel.score.caption_bounds is not None
    # k = 0.025 x 81 rounded down = 2: one of the 80 is above each bound.
    higher = [one for one in bank.kept_out if funnel.asks(one)]
    assert len(higher) == 1 and describe_unplaced(bank, FUNNELLED) == ""
    bare = place_funnel(kept_out([n / 80 for n in range(80)]), FUNNELLED)
    assert bare is not None and bare.score.caption_bounds is None
    assert "takes 156 controls with a caption" in describe_unplaced(kept_out([0.1 * n for n in range(80)]), FUNNELLED)


def test_without_a_funnel_or_enough_controls_every_image_is_asked() -> None:
    bank = kept_out([n / 18 for n in range(18)])
    assert place_funnel(None, FUNNELLED) is place_funnel(bank, PROTOCOL) is place_funnel(bank, FUNNELLED) is None
    assert describe_unplaced(bank, PROTOCOL) == ""
    assert "there are no controls" in describe_unplaced(None, FUNNELLED)
    said = describe_unplaced(bank, FUNNELLED)
    assert "takes 98 controls" in said and "there are 258" in said
    assert 98 - count_bank_controls(98) == 19 and 97 - count_bank_controls(97) == 18
    assert count_needed(0.05) == 98


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_p_values_of_exchangeable_images_are_uniform_or_larger(seed: int) -> None:
    """Each image in turn is put against the others, and is left out where its score is low, as they are."""
    draw = np.random.default_rng(seed)
    images = [
        control(str(n), float(draw.integers(0, 8)), float(draw.random()), float(draw.random())) for n in range(30)
    ]
    funnel, p_values = funnel_at(float(draw.integers(0, 8))), []
    for place, image in enumerate(images):
        others = bank_of([one for number, one in enumerate(images) if number != place])
        test = JointTest(others, Policy(complexity="none"), funnel=funnel)
        own = image if funnel.asks(image) else image.model_copy(update={"rungs": {}})
        p_value = test.p_value(own)
        assert isinstance(p_value, float)
        p_values.append(p_value)
    assert (np.sort(p_values) >= (np.arange(30) + 1) / 30 - 1e-12).all()


def test_an_image_that_is_left_out_has_the_rank_of_its_score_among_those_left_out() -> None:
    controls = [control(str(n), float(n), 0.1 + n / 1000, 0.1 + n / 1000) for n in range(99)]
    test = JointTest(bank_of(controls), Policy(), funnel=funnel_at(1000.0))
    [asked] = [control("own", 49.5, 0.9, 0.9)]
    own = asked.model_copy(update={"rungs": {}})
    # No control is let through either, so the score alone ranks: 49 of 99 are higher.
    assert test.p_value(own) == pytest.approx(50 / 100 + 0.0, abs=0.011)


def test_texts_that_were_not_asked_are_chances_all_the_same() -> None:
    controls = [control(str(n), float(n), 0.1, 0.1) for n in range(99)]
    test = JointTest(bank_of(controls), Policy(), funnel=funnel_at(1000.0))
    one, many = (_left_out_control(texts) for texts in (1, 5))
    first, second = test.p_value(one), test.p_value(many)
    assert isinstance(first, float) and isinstance(second, float)
    assert second >= first and second == pytest.approx(min(1.0, 2 * _embedding_alone(test)))


def _left_out_control(texts: int) -> Control:
    base = make_control(left_out("own", 95.5, [f"text {n}" for n in range(texts)]))
    assert not base.is_asked and base.texts == {Rung.CAPTION: texts, Rung.EMBEDDING: 1}
    return base


def _embedding_alone(test: JointTest) -> float:
    p_value = test.p_value(_left_out_control(1).model_copy(update={"texts": {Rung.EMBEDDING: 1}}))
    assert isinstance(p_value, float)
    return p_value


def test_the_verdict_says_that_nothing_was_generated() -> None:
    bank = kept_out([n / 80 for n in range(80)])
    copied = measurement("copied", 9.0, [COPY] * 8, [COPY] * 8)
    findings = decide(
        [copied, *(left_out(str(n), 0.1) for n in range(4))], Evidence(bank, FUNNELLED, Policy())
    )  # fmt: skip
    assert findings[0].verdict is Verdict.REPLICATED
    for finding in findings[1:]:
        assert finding.verdict is Verdict.NOT_REPRODUCED and finding.replication == []
        assert finding.reason.startswith("No image was generated for it: its score is not among the highest 5 %")
        assert isinstance(finding.rung, Skipped) and isinstance(finding.best_replica, Skipped)


def test_what_was_not_asked_counts_among_the_tests_of_a_folder() -> None:
    """The q-value of a text is the same whether other images were asked in vain or not asked."""
    bank = kept_out([n / 80 for n in range(80)])
    copied = measurement("copied", 9.0, [COPY] * 8, [COPY] * 8)
    others = [measurement(str(n), 0.1, [FAR] * 8, [FAR] * 8) for n in range(9)]
    asked = decide([copied, *others], Evidence(bank, PROTOCOL, Policy()))[0]
    not_asked = decide([copied, *(left_out(str(n), 0.1) for n in range(9))], Evidence(bank, FUNNELLED, Policy()))[0]
    assert asked.replication[0].rung is not_asked.replication[0].rung is Rung.CAPTION
    assert asked.q_value == not_asked.q_value
    assert not_asked.replication[0].stands


def test_a_record_of_a_rung_that_was_not_asked_is_read_back() -> None:
    written = left_out("own", 0.1)
    assert Measurement.model_validate_json(written.model_dump_json()) == written
    assert written.not_asked == REASON and measurement("other", 0.1, [FAR]).not_asked == ""
    assert isinstance(rung([FAR]).texts, list)


def test_an_image_that_does_not_pass_its_first_look_is_not_asked() -> None:
    funnel = looking_at(0.4, 0.5)
    assert funnel.first_look == FirstLookConfig(share=0.25)
    passing, failing = (ImageScores(0.0, 9.0, first_look=look(value)) for value in (0.41, 0.4))
    assert funnel.looks_on(passing) and funnel.asks(passing)
    assert not funnel.looks_on(failing) and not funnel.asks(failing)
    # Where none was taken, as in runs without one, the score decides alone.
    assert funnel.asks(ImageScores(0.0, 0.6)) and not funnel.asks(ImageScores(0.0, 0.5))
    # Either look is enough for an image with a caption, and a control is judged by the rule of the target.
    either = looking_at(0.4, 0.5, (0.7, 0.2))
    looks = [look(0.6, 0.2), look(0.71, 0.0), look(0.0, 0.21)]
    assert [either.looks_on(ImageScores(0.0, first_look=one)) for one in looks] == [False, True, True]
    assert either.looks_on(ImageScores(0.0, first_look=look(0.6, 0.2)), captioned=False)


def with_looks(bank: NullBank, draws: int = 16, steps: int = 2) -> NullBank:
    """Give every control a first look that is half its score."""

    def see(one: Control) -> Control:
        assert isinstance(one.log_ratio, float)
        return one.model_copy(update={"first_look": look(one.log_ratio / 2, steps=steps, draws=draws)})

    update = {"kept_out": [see(one) for one in bank.kept_out], "controls": [see(one) for one in bank.controls]}
    return bank.model_copy(update=update)


def test_bounds_of_the_first_look_need_controls_with_the_same_one() -> None:
    bank = kept_out([n / 80 for n in range(80)])
    config = FirstLookConfig(share=0.25, draws=4)
    protocol = PROTOCOL.model_copy(update={"funnel": FunnelConfig(share=0.05, first_look=config)})
    steps, draws = config.count_steps(protocol.error.after_steps), len(config.choose_draws(protocol.error.draws))
    funnel = place_funnel(with_looks(bank, draws, steps), protocol)
    assert funnel is not None and funnel.look is not None
    # k = 0.25 x 81 rounded down = 20: 19 of the 80 are above the bound.
    assert sum(funnel.looks_on(one) for one in with_looks(bank, draws, steps).kept_out) == 19
    for other in (bank, with_looks(bank, draws + 1, steps), with_looks(bank, draws, steps + 90)):
        plain = place_funnel(other, protocol)
        assert plain is not None and plain.look is None and plain.first_look is None
        captioned = [one.model_copy(update={"caption_log_ratio": float(n)}) for n, one in enumerate(other.kept_out)]
        said = describe_unplaced(other.model_copy(update={"kept_out": captioned}), protocol)
        assert said.startswith("no first look is taken, because the controls had none of the same kind")


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_p_values_stay_valid_with_a_first_look(seed: int) -> None:
    draw = np.random.default_rng(seed)
    images = [
        control(str(n), float(draw.integers(0, 8)), float(draw.random()), float(draw.random())).model_copy(
            update={"first_look": look(float(draw.integers(0, 8)))}
        )
        for n in range(30)
    ]
    funnel, p_values = looking_at(float(draw.integers(0, 8)), float(draw.integers(0, 8))), []
    for place, image in enumerate(images):
        others = bank_of([one for number, one in enumerate(images) if number != place])
        update: dict[str, object] = {} if funnel.asks(image) else {"rungs": {}, "texts": {Rung.EMBEDDING: 1}}
        if not funnel.looks_on(image):
            update["log_ratio"] = Skipped(skipped="its first look is low")
        test = JointTest(others, Policy(complexity="none"), funnel=funnel)
        p_value = test.p_value(image.model_copy(update=update))
        assert isinstance(p_value, float) and (funnel.looks_on(image) or p_value == 1)
        p_values.append(p_value)
    assert (np.sort(p_values) >= (np.arange(30) + 1) / 30 - 1e-12).all()


def test_the_verdict_says_that_the_score_was_not_measured() -> None:
    bank = with_looks(kept_out([n / 80 for n in range(80)]), 4, 1)
    reason = describe_left_out(looking_at(0.5, 0.5), captioned=False, scored=False)
    stopped = left_out("stopped", 0.1).model_copy(
        update={
            "error": Skipped(skipped=reason),
            "caption_error": Skipped(skipped=reason),
            "first_look": look(0.0, 0.0),
        }
    )
    assert Measurement.model_validate_json(stopped.model_dump_json()) == stopped
    own = make_control(stopped)
    assert not own.is_asked and not own.is_scored and own.is_captioned
    config = FunnelConfig(share=0.05, first_look=FirstLookConfig(draws=4))
    protocol = PROTOCOL.model_copy(update={"funnel": config})
    [finding] = decide([stopped], Evidence(bank, protocol, Policy()))
    assert finding.verdict is Verdict.NOT_REPRODUCED and isinstance(finding.score, Skipped)
    assert finding.p_value == finding.q_value == 1 and finding.scored_only

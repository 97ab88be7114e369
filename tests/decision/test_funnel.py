from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgaudit.decision.controls import Control, make_control
from imgaudit.decision.funnel import (
    Funnel,
    ImageScores,
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
from imgaudit.schema.policy import Policy
from imgaudit.schema.protocol import FunnelConfig
from imgaudit.schema.records import Measurement, NotAsked, Rung, Skipped
from imgaudit.statistics import LinearFit
from tests.decision.test_joint_test import COPY, FAR, bank_of, control
from tests.support.records import PROTOCOL, measurement, rung

FUNNELLED = PROTOCOL.model_copy(update={"funnel": FunnelConfig(share=0.05)})
FLAT = LinearFit(0.0, 0.0, 0)


def funnel_at(bound: float, caption_bounds: tuple[float, float] | None = None) -> Funnel:
    return Funnel(0.05, FLAT, bound, FLAT, caption_bounds)


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
    assert funnel.bound == scores[3]
    assert sum(funnel.asks(one) for one in bank.kept_out) == 3
    unscored = bank.controls[0].model_copy(update={"log_ratio": Skipped(skipped="no score")})
    assert funnel.asks(unscored)


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
    assert funnel is not None and funnel.caption_bounds is not None
    # k = 0.025 x 81 rounded down = 2: one of the 80 is above each bound.
    higher = [one for one in bank.kept_out if funnel.asks(one)]
    assert len(higher) == 1 and describe_unplaced(bank, FUNNELLED) == ""
    bare = place_funnel(kept_out([n / 80 for n in range(80)]), FUNNELLED)
    assert bare is not None and bare.caption_bounds is None
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

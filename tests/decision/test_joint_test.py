from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgaudit.decision.coincidence import CrossMatches
from imgaudit.decision.controls import Control, ControlSeed
from imgaudit.decision.joint_test import CHUNK, Design, JointNull, JointTest, correct_for_texts, measure_legs
from imgaudit.decision.null_bank import NullBank
from imgaudit.decision.replication import Evidence
from imgaudit.decision.verdict import decide
from imgaudit.schema.findings import AlarmCode, Verdict
from imgaudit.schema.policy import Policy
from imgaudit.schema.protocol import SpanConfig
from imgaudit.schema.records import Rung, Skipped
from imgaudit.statistics import conformal_p_value
from tests.support.records import PROTOCOL, bank, digest, measurement

COPY, FAR = (0.99, 0.05), (0.2, 0.5)


def legs_of(values: Sequence[Sequence[float]]) -> npt.NDArray[np.float64]:
    return np.asarray(values, dtype=float)[:, :, None]


def control(name: str, score: float, embedding: float, caption: float | None = None, seeds: int = 4) -> Control:
    def answers(similarity: float) -> list[ControlSeed]:
        return [ControlSeed(similarity=similarity, distance=1 - similarity, guidance_scale=3.0)] * seeds

    rungs = {Rung.EMBEDDING: answers(embedding)} | ({} if caption is None else {Rung.CAPTION: answers(caption)})
    return Control(
        sha256=digest(name), complexity=0.0, log_ratio=score, by_timestep=[], features={}, text_features={},
        vae_error=0.3, pdq="", rungs=rungs, texts=dict.fromkeys(rungs, 1),
    )  # fmt: skip


def bank_of(controls: list[Control]) -> NullBank:
    return bank(0).model_copy(update={"controls": controls})


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30), st.floats(-1, 1))
def test_with_one_leg_it_is_the_conformal_p_value(controls: list[float], own: float) -> None:
    null = JointNull(legs_of([[value] for value in controls]))
    assert null.p_values(legs_of([[own]])).tolist() == [pytest.approx(conformal_p_value(own, controls))]


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_ranks_among_exchangeable_images_are_uniform_or_larger(seed: int, legs: int) -> None:
    """Each image in turn is put against the others: the share with p <= a is at most a, for every a and any ties."""
    draw = np.random.default_rng(seed)
    values = draw.integers(0, 6, (20, legs, 1 + seed % 2)).astype(float)
    p_values = []
    for place in range(20):
        others = np.arange(20) != place
        p_values.append(float(JointNull(values[others]).p_values(values[[place]])[0]))
    ordered = np.sort(p_values)
    assert (ordered >= (np.arange(20) + 1) / 20 - 1e-12).all()


def test_many_images_are_ranked_as_one_by_one() -> None:
    draw = np.random.default_rng(3)
    null, images = JointNull(draw.integers(0, 9, (50, 3, 2)).astype(float)), draw.normal(4, 3, (2 * CHUNK + 5, 3, 2))
    assert null.p_values(images).tolist() == [float(null.p_values(one[None])[0]) for one in images]
    assert null.p_values(images[:0]).tolist() == []


@pytest.mark.parametrize("twice", [True, False])
def test_ranks_are_those_of_counting_one_by_one(twice: bool) -> None:
    """Two legs, one of whose values are the same for all controls, and for the images too or not."""
    draw = np.random.default_rng(4)
    controls, images = (draw.integers(0, 9, (count, 2, 2)).astype(float) for count in (30, 40))
    controls[:, 0, 1] = controls[:, 0, 0]
    images[:, 0, 1] = images[:, 0, 0] if twice else images[:, 0, 1]
    weights = (1.0, 0.25)

    def strength(one: int, everybody: npt.NDArray[np.float64]) -> float:
        others = np.delete(everybody, one, axis=0)
        # A tie with the image, which is the last, counts against both.
        ranks = 1 + (others >= everybody[one]).sum(axis=0).max(axis=-1)
        return float((weights / ranks).sum())

    for image, p_value in zip(images, JointNull(controls, weights).p_values(images), strict=True):
        everybody = np.concatenate([controls, image[None]])
        strengths = [strength(place, everybody) for place in range(31)]
        assert p_value == pytest.approx(sum(one >= strengths[-1] - 1e-12 for one in strengths) / 31)


def test_of_two_values_of_one_leg_the_worse_rank_counts() -> None:
    controls = np.array([[[n, n]] for n in range(99)], dtype=float)
    high, one_sided = JointNull(controls).p_values(np.array([[[200.0, 200.0]], [[200.0, -1.0]]]))
    assert (high, one_sided) == (0.01, 1.0)


def test_a_leg_of_less_weight_does_not_outvote_the_score() -> None:
    """By hand: with equal weights 1 + 1/5 against 1/3 + 1 of the second control, else 1 + 1/20 against 1/3 + 1/4."""
    controls = legs_of([[3, 0], [2, 9], [1, 1], [0, 2]])
    image = legs_of([[4, -1]])
    assert JointNull(controls).p_values(image).tolist() == [pytest.approx(2 / 5)]
    assert JointNull(controls, (1.0, 0.25)).p_values(image).tolist() == [pytest.approx(1 / 5)]


@pytest.mark.parametrize("span", [None, SpanConfig()])
def test_on_models_whose_inversion_brings_little_back_what_the_embedding_gave_counts_for_a_quarter(
    span: SpanConfig | None,
) -> None:
    # The image is first by its score and last by what its embedding gave; one control is first on both legs of that.
    controls = [control(f"c{n}", n / 100, 0.99 if n == 50 else 0.3) for n in range(99)]
    null = bank_of(controls).model_copy(update={"protocol": PROTOCOL.model_copy(update={"span": span})})
    test, own = JointTest(null, Policy()), control("own", 2.0, 0.1)
    design = test.design(own)
    measured = measure_legs([own], [2.0], design)
    assert len(design.weigh()) == measured.shape[1] == 3 and set(design.weigh()) == {1.0}
    assert design.weigh(0.25) == (1.0, 0.25, 0.25)
    assert test.p_value(own) == pytest.approx(0.01 if span else 0.02)


def test_one_strong_leg_is_enough_and_two_are_stronger() -> None:
    draw = np.random.default_rng(0)
    null = JointNull(draw.normal(size=(199, 3, 1)))
    one, two, none = null.p_values(legs_of([[9, 0, 0], [9, 9, 0], [0, 0, 0]]))
    assert one <= 3 / 200 and two == 1 / 200 and none > 0.2


def test_a_spoilt_score_does_not_hide_copies() -> None:
    """An owner who trains the null branch on the images takes their score away, not what comes back."""
    draw = np.random.default_rng(1)
    controls = [control(f"c{n}", float(draw.normal()), float(draw.uniform(0.1, 0.7))) for n in range(199)]
    known = measurement("a", -9.0, [COPY] * 4)
    [finding] = decide([known], Evidence(bank_of(controls), PROTOCOL, Policy()))
    assert finding.score_p_value == 1.0 and finding.p_value == 1 / 200
    assert finding.verdict is Verdict.REPLICATED_BY_INVERSION


def test_a_model_without_a_null_branch_is_tested_on_its_copies() -> None:
    controls = [
        one.model_copy(update={"log_ratio": Skipped(skipped="no null branch")})
        for one in (control(f"c{n}", 0.0, 0.002 * n) for n in range(199))
    ]
    target = measurement("a", 0.0, [COPY] * 4, error=Skipped(skipped="no null branch"))
    [finding] = decide([target], Evidence(bank_of(controls), PROTOCOL, Policy()))
    assert [alarm.code for alarm in finding.alarms] == [AlarmCode.NO_NULL_BRANCH]
    assert finding.verdict is Verdict.REPLICATED_BY_INVERSION and isinstance(finding.score_p_value, Skipped)


def test_captions_are_compared_with_controls_that_have_some_and_only_then() -> None:
    with_captions = [control(f"c{n}", 0.0, 0.3, 0.002 * n) for n in range(120)]
    without = [control(f"d{n}", 0.0, 0.3) for n in range(80)]
    own = control("a", 0.0, 0.2, 0.5)
    test = JointTest(bank_of([*with_captions, *without]), Policy())
    assert test.design(own) == Design(score=True, rungs=(Rung.CAPTION, Rung.EMBEDDING), parts=())
    assert test.p_value(own) == 1 / 121
    rare = JointTest(bank_of([*with_captions[:20], *without]), Policy())
    assert rare.design(own).rungs == (Rung.EMBEDDING,)
    differing = JointTest(bank_of(with_captions), Policy(), captions_comparable=False)
    assert differing.design(own).rungs == (Rung.EMBEDDING,) and differing.p_value(own) == 1.0


@pytest.mark.parametrize("texts", [2, 10])
def test_more_texts_than_the_controls_had_are_corrected_for(texts: int) -> None:
    """Eight answers spread over many texts, images and answers varying alike: at most 5 % have p <= 0.05."""
    draw = np.random.default_rng(2)

    def answers(count: int) -> list[ControlSeed]:
        return [
            ControlSeed(similarity=float(value), distance=0.5, guidance_scale=3.0, text=place % count)
            for place, value in enumerate(draw.normal(0.4 + draw.normal(0, 0.05), 0.1, 10))
        ]

    controls = []
    for number in range(199):
        plain = control(f"c{number}", float(draw.normal()), float(draw.uniform(0.1, 0.5)))
        rungs = plain.rungs | {Rung.CAPTION: answers(1)}
        controls.append(plain.model_copy(update={"rungs": rungs, "texts": dict.fromkeys(rungs, 1)}))
    test, small = JointTest(bank_of(controls), Policy()), 0
    for number in range(300):
        own = control(f"t{number}", float(draw.normal()), float(draw.uniform(0.1, 0.5)))
        rungs = own.rungs | {Rung.CAPTION: answers(texts)}
        own = own.model_copy(update={"rungs": rungs, "texts": {Rung.CAPTION: texts, Rung.EMBEDDING: 1}})
        small += test.p_value(own) <= 0.05  # type: ignore[operator]
    assert small <= 300 * 0.05 + 3 * (300 * 0.05 * 0.95) ** 0.5
    assert correct_for_texts(0.3, 10, 1) == 1.0


def test_24_controls_never_give_not_reproduced_and_a_visible_copy_is_inconclusive() -> None:
    controls = [control(f"c{n}", 0.0, 0.9, 0.2) for n in range(24)]
    [clean] = decide([measurement("a", -1.0, [FAR] * 8)], Evidence(bank_of(controls), PROTOCOL, Policy()))
    assert clean.verdict is Verdict.INCONCLUSIVE and "24 controls cannot place the copy thresholds" in clean.reason
    many = [control(f"c{n}", 0.0, 0.93, 0.2) for n in range(60)]
    visible = measurement("b", -1.0, [(0.92, 0.06)] * 7 + [FAR])
    [shown] = decide([visible], Evidence(bank_of(many), PROTOCOL, Policy()))
    assert shown.verdict is Verdict.INCONCLUSIVE and shown.q_value > 0.05  # type: ignore[operator]
    assert "7 are near-identical to it" in shown.reason and "look at the closest image" in shown.reason
    [calm] = decide([measurement("c", -1.0, [FAR] * 8)], Evidence(bank_of(many), PROTOCOL, Policy()))
    assert calm.verdict is Verdict.NOT_REPRODUCED


def test_a_claim_by_the_absolute_standard_is_shown_with_the_rate_that_it_rests_on() -> None:
    """24 controls with one unusual one gave thresholds by which "0 of 8 are copies" stood beside a visible copy."""
    odd = [ControlSeed(similarity=0.999, distance=0.001, guidance_scale=3.0)]
    controls = [control(f"c{n}", 0.0, 0.3, 0.2) for n in range(24)]
    controls[0] = controls[0].model_copy(update={"rungs": {Rung.EMBEDDING: odd, Rung.CAPTION: odd}})
    targets = [measurement("a", 3.0, [COPY] * 8, [COPY] * 6 + [FAR] * 2)]
    targets += [measurement(f"t{n}", 0.0, [FAR] * 8, [FAR] * 8) for n in range(7)]
    best = np.full((8, 40), 0.2)
    best[0, 0] = 0.99
    crossed = CrossMatches([one.id for one in targets], best)
    finding = decide(targets, Evidence(bank_of(controls), PROTOCOL, Policy(), cross_matches={Rung.CAPTION: crossed}))[0]
    caption, embedding = finding.replication
    assert finding.verdict is Verdict.REPLICATED and finding.q_value > 0.05  # type: ignore[operator]
    assert (caption.hits, caption.n, caption.near_identical, embedding.hits) == (6, 8, 6, 0)
    assert caption.thresholds == {"similarity": 0.9, "distance": 0.15} and "6 of 8" in finding.reason


def test_an_embedding_has_no_texts_and_keeps_its_p_value() -> None:
    controls = [control(f"c{n}", 0.0, 0.9 - 0.001 * n, 0.2) for n in range(99)]
    [finding] = decide([measurement("a", 0.0, [FAR] * 8)], Evidence(bank_of(controls), PROTOCOL, Policy()))
    assert finding.replication[0].p_value == 1.0

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from imgaudit.statistics import (
    auc,
    clopper_pearson,
    conformal_p_value,
    controls_needed,
    exceedance_threshold,
    false_positive_interval,
    fewest_findable,
    fit_line,
    joint_exceedance_thresholds,
    q_values,
    upper_bound,
)

scores = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=60)


def test_exact_interval_against_published_values() -> None:
    # Clopper-Pearson for 7 of 20, as tabulated (e.g. R's binom.test(7, 20)).
    low, high = clopper_pearson(7, 20)
    assert (round(low, 4), round(high, 4)) == (0.1539, 0.5922)
    assert clopper_pearson(0, 0) == (0.0, 1.0)
    assert clopper_pearson(0, 20).low == 0.0 and clopper_pearson(20, 20).high == 1.0


@given(hits=st.integers(0, 30), extra=st.integers(0, 30))
def test_the_exact_bound_is_what_makes_the_observation_just_unlikely(hits: int, extra: int) -> None:
    n = hits + extra + 1
    bound = upper_bound(hits, n)
    assert stats.binom.cdf(hits, n, bound) == pytest.approx(0.05, abs=1e-6)


@given(controls=scores, score=st.integers(-6, 6).map(float))
def test_conformal_p_values_count_ties_and_have_a_smallest_value(controls: list[float], score: float) -> None:
    p = conformal_p_value(score, controls)
    assert p == (1 + sum(c >= score for c in controls)) / (len(controls) + 1)
    assert 1 / (len(controls) + 1) <= p <= 1


@given(controls=scores, score=st.integers(-6, 6).map(float), level=st.sampled_from([0.01, 0.05, 0.1, 0.25, 0.5]))
def test_exceeding_the_threshold_is_having_a_small_p_value(controls: list[float], score: float, level: float) -> None:
    exceeds = score > exceedance_threshold(controls, level)
    assert exceeds == (conformal_p_value(score, controls) <= level + 1e-12)


def test_p_values_are_valid_under_exchangeability() -> None:
    generator = np.random.default_rng(0)
    p_values = [conformal_p_value(float(row[0]), row[1:].tolist()) for row in generator.normal(size=(4000, 40))]
    for level in (0.05, 0.1, 0.5):
        share = float(np.mean(np.array(p_values) <= level))
        assert share <= level + 3 * math.sqrt(level * (1 - level) / 4000)


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=30))
def test_q_values_agree_with_the_step_up_procedure(p_values: list[float]) -> None:
    adjusted = q_values(p_values)
    ordered = sorted(p_values)
    for level in (0.05, 0.2):
        passing = [k for k, p in enumerate(ordered, 1) if p <= level * k / len(p_values) * (1 + 1e-12)]
        accepted = max(passing, default=0)
        assert sum(q <= level * (1 + 1e-12) for q in adjusted) == accepted


@given(controls=st.integers(0, 3000), targets=st.integers(1, 300), level=st.sampled_from([0.01, 0.05, 0.1]))
def test_the_planner_is_what_benjamini_hochberg_does(controls: int, targets: int, level: float) -> None:
    smallest = 1 / (controls + 1)
    findable = [r for r in range(1, targets + 1) if smallest <= level * r / targets * (1 + 1e-9)]
    assert fewest_findable(controls, targets, level) == (findable[0] if findable else None)
    assert fewest_findable(controls_needed(targets, 1, level), targets, level) == 1


def test_false_positive_interval_covers_simulated_rates() -> None:
    generator = np.random.default_rng(1)
    n, level = 199, 0.05
    allowed = int(level * (n + 1)) - 1
    rates = [float(stats.norm.sf(exceedance_threshold(generator.normal(size=n).tolist(), level))) for _ in range(2000)]
    low, high = false_positive_interval(allowed, n)
    assert np.mean([(low <= rate <= high) for rate in rates]) == pytest.approx(0.95, abs=0.02)


def test_auc_has_a_width_even_when_separation_is_perfect() -> None:
    perfect = auc([2.0] * 40, [1.0] * 100)
    assert perfect.value == 1.0 and perfect.high == 1.0 and 0.9 < perfect.low < 1.0
    none = auc([1.0] * 30, [1.0] * 30)
    assert none.value == 0.5 and none.low < 0.5 < none.high
    reverse = auc([1.0] * 40, [2.0] * 100)
    assert reverse.value == 0.0 and reverse.low == 0.0 and 0.0 < reverse.high < 0.1


def test_auc_interval_covers_the_truth() -> None:
    generator = np.random.default_rng(2)
    truth = float(stats.norm.cdf(2 / math.sqrt(2)))
    covered = []
    for _ in range(400):
        area = auc(generator.normal(2, 1, 30).tolist(), generator.normal(0, 1, 60).tolist())
        covered.append(area.low <= truth <= area.high)
    assert np.mean(covered) > 0.92


def test_a_line_is_not_bent_by_one_control_that_was_trained_on() -> None:
    complexities = [float(x) for x in range(20)]
    values = [0.5 + 0.1 * x for x in complexities]
    values[3] += 50
    fit = fit_line(complexities, values)
    assert fit.slope == pytest.approx(0.1, abs=1e-6)
    assert abs(fit.residual(0.5 + 0.1 * 7, 7.0)) < 0.2
    assert fit_line([1.0, 1.0], [2.0, 3.0]).slope == 0.0
    draw = np.random.default_rng(0)
    x, y = draw.integers(0, 9, 80).astype(float), draw.normal(size=80)
    known = stats.theilslopes(y, x)
    assert fit_line(x.tolist(), y.tolist()) == (known.intercept, known.slope, 80)


def test_joint_thresholds_of_one_score_twice_are_its_own() -> None:
    scores = np.random.default_rng(0).normal(size=199).tolist()
    joint = joint_exceedance_thresholds(scores, scores, 0.05)
    assert joint.first == joint.second == exceedance_threshold(scores, 0.05)
    assert joint.each == pytest.approx(0.05)


def test_joint_thresholds_from_too_few_controls_are_infinite() -> None:
    assert joint_exceedance_thresholds([1.0] * 98, [1.0] * 98, 0.01)[:2] == (np.inf, np.inf)
    assert joint_exceedance_thresholds([], [], 0.01).each == 0


@pytest.mark.parametrize("shared", [0.0, 0.8])
@pytest.mark.parametrize("decimals", [0, 6])
def test_joint_thresholds_are_exceeded_as_rarely_as_promised(shared: float, decimals: int) -> None:
    rng, level, trials = np.random.default_rng(1), 0.1, 4000
    hits = 0
    for _ in range(trials):
        common, own = rng.normal(size=30), rng.normal(size=(2, 30))
        first, second = np.round(shared * common + (1 - shared) * own, decimals)
        joint = joint_exceedance_thresholds(first[:-1].tolist(), second[:-1].tolist(), level)
        hits += bool(first[-1] > joint.first and second[-1] > joint.second)
    # Three standard errors above the level.
    assert hits / trials <= level + 3 * (level * (1 - level) / trials) ** 0.5

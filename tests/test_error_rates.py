"""Error rates over very many simulated folders, with the same arithmetic as the audit's."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from imgaudit.statistics import FamilyQValues, conformal_p_value, q_values

Floats = npt.NDArray[np.float64]
PORTFOLIOS = 100_000


def simulate(portfolios: int, seed: int) -> tuple[Floats, Floats]:
    """Controls (portfolios, 99) and targets (portfolios, 10), three of them memorised; rounded, so that ties abound."""
    generator = np.random.default_rng(seed)
    controls = generator.normal(size=(portfolios, 99))
    targets = generator.normal(size=(portfolios, 10))
    targets[:, :3] += 4
    return controls.round(1), targets.round(1)


def p_values_of(controls: Floats, targets: Floats) -> Floats:
    ordered = np.sort(controls, axis=1)
    at_least = np.stack(
        [(ordered[:, :, None] >= targets[:, None, k : k + 1]).sum(axis=1)[:, 0] for k in range(10)], axis=1
    )
    return (1 + at_least) / (1 + controls.shape[1])


def test_the_vectorised_p_values_are_the_audits() -> None:
    controls, targets = simulate(5, 3)
    p_values = p_values_of(controls, targets)
    for row in range(5):
        assert p_values[row].tolist() == [conformal_p_value(t, controls[row].tolist()) for t in targets[row]]


@pytest.mark.slow
@pytest.mark.parametrize("level", [0.05, 0.1])
def test_false_discoveries_over_a_hundred_thousand_folders_stay_below_the_level(level: float) -> None:
    proportions, found = [], 0.0
    for seed in range(10):
        p_values = p_values_of(*simulate(PORTFOLIOS // 10, seed))
        discovered = stats.false_discovery_control(p_values, axis=1, method="bh") <= level
        false = discovered[:, 3:].sum(axis=1)
        proportions.append(false / np.maximum(1, discovered.sum(axis=1)))
        found += discovered[:, :3].mean() / 10
    everything = np.concatenate(proportions)
    # Seven of ten hypotheses are true, so the theorem promises level x 0.7; 3 standard errors of simulation beside it.
    assert everything.mean() <= 0.7 * level + 3 * everything.std() / np.sqrt(PORTFOLIOS)
    assert found > {0.05: 0.2, 0.1: 0.5}[level]


@pytest.mark.parametrize("correction", ["benjamini_hochberg", "benjamini_yekutieli"])
def test_a_member_of_the_family_has_its_own_q_value(correction: str) -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        family = (generator.integers(1, 50, 12) / 50).tolist()
        whole = q_values(family, correction)  # type: ignore[arg-type]
        for p_value, q_value in zip(family, whole, strict=True):
            assert FamilyQValues(family, correction).at(p_value) == pytest.approx(q_value)  # type: ignore[arg-type]
    assert FamilyQValues([0.5, 0.9]).at(0.001) == pytest.approx(q_values([0.5, 0.9])[0])


def test_a_q_value_is_the_smallest_rate_at_which_the_test_would_be_a_discovery() -> None:
    generator = np.random.default_rng(1)
    for size in (0, 1, 2, 30):
        family, p_value = generator.random(size).tolist(), float(generator.random())
        cuts = np.array([p_value, *(p for p in family if p > p_value)])
        accepted = np.array([sum(p <= cut for p in family) for cut in cuts])
        rates = np.where(accepted > 0, size * cuts / np.maximum(accepted, 1), 1.0)
        assert FamilyQValues(family).at(p_value) == min(1.0, float(rates.min()))

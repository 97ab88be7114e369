"""The blind baseline: it rarely alarms without a shift and nearly always with one."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from imgaudit.benchmark.harness.cases import Group
from imgaudit.benchmark.harness.score_table import ControlTable, ScoreTable
from imgaudit.decision.blind_baseline import MOST_COMPARED, blind_baseline, blind_distance, is_comparable

LAB = Path(__file__).parents[2] / "examples" / "labs" / "report-a"
DRAWS = 300


def rows(generator: np.random.Generator, count: int, shift: float = 0.0) -> list[dict[str, float]]:
    values = generator.normal(size=(count, 8))
    values[:, 0] += shift
    return [dict(zip("abcdefgh", map(float, row), strict=True)) for row in values]


def test_the_blind_baseline_rarely_alarms_without_a_shift_and_nearly_always_with_one() -> None:
    generator = np.random.default_rng(1)
    shift = float(np.sqrt(2) * norm.ppf(0.9))
    calm = [blind_baseline(rows(generator, 100), rows(generator, 100)) for _ in range(100)]
    shifted = [blind_baseline(rows(generator, 100, shift), rows(generator, 100)) for _ in range(20)]
    assert sum(one is not None and one.alarms() for one in calm) <= 11
    assert sum(one is not None and one.alarms() for one in shifted) >= 19
    assert blind_baseline(rows(generator, 19), rows(generator, 100)) is None


def test_how_many_shuffles_are_fitted_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(8)
    targets, controls = rows(generator, 30, shift=0.3), rows(generator, 50)
    at_once = blind_baseline(targets, controls)
    # As for a collection of a hundred thousand images, whose shuffles do not fit into memory together.
    monkeypatch.setattr("imgaudit.decision.blind_baseline.BLOCK_LABELS", 0)
    assert blind_baseline(targets, controls) == at_once


@pytest.fixture(scope="module")
def pictures() -> dict[str, list[dict[str, float]]]:
    """Features of held-out clip art, of a bank of clip art, and of a bank of emoji and stamps."""
    table, other = ScoreTable.read(LAB / "detection.json"), ControlTable.read(LAB / "other-controls.json")
    return {
        "held out": [row.features for row in table.of(Group.HELD_OUT)],
        "alike": [control.features for control in table.bank],
        "other": [control.features for control in other.controls if not control.kept_out],
    }


def alarm_rate(pictures: dict[str, list[dict[str, float]]], kind: str, targets: int, draws: int = DRAWS) -> float:
    """Share of draws of so many held-out images that differ from 120 controls of a kind."""
    generator = np.random.default_rng(targets)

    def draw(name: str, count: int) -> list[dict[str, float]]:
        return [pictures[name][n] for n in generator.choice(len(pictures[name]), count, replace=False)]

    return float(np.mean([blind_distance(draw("held out", targets), draw(kind, 120)).alarms() for _ in range(draws)]))


@pytest.mark.parametrize("targets", [1, 2, 3, 5, 10, 19])
def test_few_targets_like_the_controls_rarely_alarm(pictures: dict[str, list[dict[str, float]]], targets: int) -> None:
    assert alarm_rate(pictures, "alike", targets) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / DRAWS)


@pytest.mark.parametrize(("targets", "least"), [(3, 0.3), (5, 0.4), (10, 0.7), (19, 0.95)])
def test_few_targets_unlike_the_controls_alarm_more_often_the_more_they_are(
    pictures: dict[str, list[dict[str, float]]], targets: int, least: float
) -> None:
    assert alarm_rate(pictures, "other", targets, 100) >= least


@pytest.mark.parametrize("targets", range(1, 20))
def test_one_to_nineteen_targets_of_another_kind_are_told(targets: int) -> None:
    generator = np.random.default_rng(targets)
    photos = [{key: value + 9 for key, value in row.items()} for row in rows(generator, targets)]
    found = blind_distance(photos, rows(generator, 199))
    assert found.alarms() and found.p_value >= 1 / 200
    assert not blind_distance([dict.fromkeys("ab", 1.0)] * targets, [dict.fromkeys("ab", 1.0)] * 30).alarms()


def test_what_cannot_reach_the_level_is_not_compared_and_large_banks_are_sampled() -> None:
    assert not is_comparable(1, 18) and is_comparable(1, 19) and not is_comparable(5, 0)
    assert is_comparable(10_000, 480)
    generator = np.random.default_rng(0)
    found = blind_distance(rows(generator, 3, 9.0), rows(generator, 3 * MOST_COMPARED))
    assert found.alarms() and found.controls == 3 * MOST_COMPARED

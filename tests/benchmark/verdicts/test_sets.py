"""Sets drawn from made-up tables and from the committed ones: their rates, and what is printed and refused."""

from pathlib import Path

import numpy as np
import pytest

from imgaudit.benchmark.harness.cases import Group
from imgaudit.benchmark.harness.score_table import ControlTable, ScoreTable
from imgaudit.benchmark.searches.table import CAPTION, INVERSION, SearchRow, SearchTable
from imgaudit.benchmark.verdicts import sets, unlike_sets
from imgaudit.benchmark.verdicts.set_draws import (
    CONTROLS,
    LabScores,
    count_p_values,
    draw_innocent,
    draw_series,
    draw_trained,
    estimate_interval,
    halve,
)
from imgaudit.benchmark.verdicts.sets import find_fewest, format_sets, measure_sets, report_sets
from imgaudit.exceptions import InputError
from imgaudit.statistics import clopper_pearson

EXAMPLES = Path(__file__).parents[3] / "examples"
LAB = EXAMPLES / "labs" / "report-a"


@pytest.fixture(scope="module")
def table() -> SearchTable:
    return SearchTable.read(EXAMPLES / "searches" / "report" / "report-a.json")


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few sets, so that a row takes no second."""
    for module, values in (
        (sets, {"HALVES": 8, "EACH": 5, "SETS": 40, "SIZES": (5, 40), "INNOCENT_SIZES": (5, 300)}),
        (unlike_sets, {"SETS": 4, "SIZES": (10,)}),
    ):
        for name, value in values.items():
            monkeypatch.setattr(module, name, value)


def test_works_and_controls_of_a_set_are_disjoint_and_series_whole() -> None:
    draw = np.random.default_rng(0)
    innocent = draw_innocent(440, 30, draw)
    assert len(innocent.works) == 30 and len(innocent.controls) == CONTROLS
    assert not set(innocent.works) & set(innocent.controls)
    trained = draw_trained(np.array([3, 5, 9]), 440, 2, draw)
    assert set(trained.works) <= {3, 5, 9} and len(set(trained.controls)) == CONTROLS
    families = [str(place // 8) for place in range(440)]
    series = draw_series(families, 20, draw)
    assert len(series.works) == 20 and len({families[place] for place in series.works}) == 3
    assert not {families[place] for place in series.works} & {families[place] for place in series.controls}
    assert all(len(set(half)) == 5 for half in halve(10, draw, 3))


def test_the_interval_is_that_of_images_less_what_counting_adds() -> None:
    """Rates of halves that differ by counting alone have a narrow interval; those of two kinds of image a wide one."""
    draw = np.random.default_rng(0)
    counted = draw.binomial(25, 0.5, 400) / 25
    low, high = estimate_interval(counted, 25)
    assert 0.4 < low < 0.5 < high < 0.6
    wide = np.where(draw.uniform(size=400) < 0.5, 0.1, 0.9)
    assert estimate_interval(wide, 25) == (0.0, 1.0)
    # Of a mean, halves vary as the whole does: the interval is the usual one.
    values = draw.normal(size=60)
    means = np.array([values[half].mean() for half in halve(60, draw, 4_000)])
    assert means.std() == pytest.approx(values.std(ddof=1) / np.sqrt(60), rel=0.1)


def test_sets_that_score_higher_are_told_and_others_are_not() -> None:
    draw = np.random.default_rng(0)
    held_out = draw.normal(size=(440, 2))
    draws = [draw_innocent(440, 20, draw) for _ in range(400)]
    low, high = clopper_pearson(20, 400, 0.9999)
    assert all(low <= (p <= 0.05).mean() <= high for p in count_p_values(held_out, held_out, draws, 1).values())
    works = np.column_stack([draw.normal(size=50), draw.normal(2, 1, size=50)])
    told = count_p_values(works, held_out, [draw_trained(np.arange(50), 440, 20, draw) for _ in range(40)], 1)
    assert (told[True] <= 0.05).all() and (told[False] <= 0.05).mean() < 0.5


def test_a_lab_is_reported_from_its_table(table: SearchTable) -> None:
    lab = LabScores.of(table)
    assert lab.held_out.shape == (440, 2) and list(lab.kinds)[:2] == ["seen once", "5 repeats"]
    report = report_sets([table], 1)
    assert report == report_sets([table], 1), "the same seed draws the same sets"
    assert [row.works for row in report.innocent] == [5], "there are no 300 images beside the controls"
    kinds = {row.kind for row in report.trained}
    assert {"seen once", "5 repeats", "memorised"} <= kinds
    [memorised] = [row for row in report.trained if row.kind == Group.MEMORISED]
    assert memorised.works == 5 and memorised.told[True].rate == memorised.told[False].rate == 1
    assert [area.positives for area in report.separation] == [60, 60]
    # Without 30 works there is no goal of power.
    assert {goal.name for goal in report.targets} == {
        f"report-a, held out, {given} captions" for given in ("with", "no")
    }
    fitted = report_sets([table.model_copy(update={"lab": "fit"})], 1)
    assert fitted.targets == []
    lines = list(format_sets(report))
    assert max(map(len, lines)) <= 80
    fewest = lines[lines.index("fewest works of which 80 % of the sets are told") :]
    assert any(line.startswith("  seen once") and line.endswith("more than 40") for line in fewest)


def test_the_fewest_works_are_those_from_which_on_most_are_told(table: SearchTable) -> None:
    [row] = [one for one in measure_sets(table, 1).trained if one.kind == Group.SEEN_ONCE and one.works == 5]

    def make(works: int, rate: float) -> sets.SetRow:
        told = {given: one.model_copy(update={"rate": rate}) for given, one in row.told.items()}
        return row.model_copy(update={"works": works, "told": told})

    assert find_fewest([make(5, 0.9), make(10, 0.7), make(20, 0.8), make(40, 1.0)], captions=True) == 20
    assert find_fewest([make(5, 0.1)], captions=True) is None


def test_sets_unlike_their_controls_are_counted_with_and_without_an_alarm(table: SearchTable) -> None:
    detection, other = ScoreTable.read(LAB / "detection.json"), ControlTable.read(LAB / "other-controls.json")
    report = report_sets([table], 1, detection, other)
    assert [row.kind for row in report.unlike] == [
        "controls: emoji and stamps",
        "like the controls",
        "works of few series",
    ]
    for row in report.unlike:
        assert row.told.n == row.alarmed.n == 4 and row.left.hits <= min(row.told.hits, 4 - row.alarmed.hits)
    assert max(map(len, format_sets(report))) <= 80
    assert len(report_sets([table], 1, detection).unlike) == 2
    with pytest.raises(InputError, match="is of lab 'report-a', and the tables of searches are of other"):
        report_sets([table.model_copy(update={"lab": "other"})], 1, detection)
    with pytest.raises(InputError, match="another model or protocol"):
        report_sets([table], 1, detection, other.model_copy(update={"model_fingerprint": "f" * 64}))
    fewer = detection.model_copy(update={"controls": detection.controls[100:]})
    with pytest.raises(InputError, match="held-out images are not in the table of detection"):
        report_sets([table], 1, fewer)


def test_a_table_with_too_few_images_is_refused(table: SearchTable) -> None:
    def keep(row: SearchRow) -> bool:
        return row.group is not Group.HELD_OUT or row.use == "fit"

    small = table.model_copy(update={"rows": [row for row in table.rows if keep(row)]})
    with pytest.raises(InputError, match=f"has 0 images that were never trained on, and {CONTROLS} controls"):
        report_sets([small], 1)
    uncaptioned = table.model_copy(update={"evaluations": {INVERSION: 256}})
    with pytest.raises(InputError, match=f"no scores by {CAPTION}"):
        report_sets([uncaptioned], 1)

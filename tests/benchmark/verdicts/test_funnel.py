from pathlib import Path

import pytest

from imgaudit.benchmark.harness.cases import Group
from imgaudit.benchmark.harness.score_table import ScoreTable
from imgaudit.benchmark.searches.table import SearchTable, name_look
from imgaudit.benchmark.verdicts import funnel
from imgaudit.benchmark.verdicts.funnel import Spread, format_funnel, report_funnel
from imgaudit.exceptions import InputError
from imgaudit.schema.funnel import FirstLookConfig, FunnelConfig
from tests.support.wrapping import unwrap

LABS = Path(__file__).parents[3] / "examples"
TABLE, SCORES = LABS / "labs/report-a/detection.json", LABS / "searches/report/report-a.json"


def test_a_spread_is_a_mean_with_the_range_of_95_percent_of_the_banks() -> None:
    spread = Spread.of([n / 100 for n in range(101)])
    assert (spread.mean, spread.low, spread.high) == pytest.approx((0.5, 0.025, 0.975))


def test_both_audits_of_a_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(funnel, "BANKS", 2)
    monkeypatch.setattr(funnel, "FUNNELS", (FunnelConfig(share=0.05), FunnelConfig(share=0.5)))
    report = report_funnel(ScoreTable.read(TABLE), 3, SearchTable.read(SCORES))
    assert (report.scored, report.full, report.per_caption) == (256, 1168, 64)
    for row in report.rows:
        # What is spent is the score of all images, and the rest for those that are asked.
        caption = report.per_caption if row.captions else 0
        least = (report.scored + caption) / (report.full + caption)
        assert least < row.cost.mean < 1 and 0 <= row.asked.low <= row.asked.mean <= row.asked.high <= 1
        assert row.found_through.mean <= 1 and (row.memorised or row.found.mean == 0)
    by_share = {(row.captions, row.memorised, row.share): row for row in report.rows}
    for (captions, memorised, share), row in by_share.items():
        if share == 0.05:
            assert row.cost.mean < by_share[captions, memorised, 0.5].cost.mean
    assert all(len(line) <= 80 for line in format_funnel(report))


def test_a_first_look_saves_scores_and_no_image_passes_that_fails_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """First looks that equal the scores leave out what a score of the same share would, at the price of a look."""
    monkeypatch.setattr(funnel, "BANKS", 2)
    look = FirstLookConfig(share=0.25)
    funnels = (FunnelConfig(share=0.05), FunnelConfig(share=0.05, first_look=look))
    monkeypatch.setattr(funnel, "FUNNELS", funnels)
    scores = SearchTable.read(SCORES)
    name = name_look(look)
    rows = [
        row.model_copy(update={"looks": {name: (row.log_ratios[scores.audited], row.log_ratios["own caption"])}})
        for row in scores.rows
    ]
    report = report_funnel(ScoreTable.read(TABLE), 3, scores.model_copy(update={"rows": rows}))
    # After 2 of 8 steps of 8 draws, forward and backward: 32, and 16 draws under two conditions.
    assert (report.looked, report.look_per_caption) == (32 + 32, 16)
    for row, looked in zip(report.rows[::2], report.rows[1::2], strict=True):
        assert (row.first_look, looked.first_look) == (None, 0.25)
        # Who is among the highest 5 % is among the highest 25 % of the same numbers.
        assert looked.asked == row.asked and looked.found_through == row.found_through and row.scored.mean == 1
        full, score = report.full + row.captions * 64, report.scored + row.captions * 64
        first = report.looked + row.captions * 16
        if row.memorised == 0:
            expected = (first + looked.scored.mean * (score + 16 - first) + row.asked.mean * (full - score)) / full
            assert looked.cost.mean == pytest.approx(expected, abs=0.01)
    assert {goal.met for goal in report.targets if goal.name.startswith("evaluations, 0 + 100, captions w")} == {True}
    given = next(row for row in report.rows if row.captions and row.memorised == 5 and row.first_look)
    beside = next(goal for goal in report.targets if goal.name == "evaluations beside DoRI's, 5 + 95, captions given")
    # DoRI: 50 steps of 8 draws, forward and back, and 10 seeds of 50 guided steps.
    share = given.cost.mean * (report.full + 64) / (2 * 50 * 8 + 2 * 10 * 50)
    assert beside.got.startswith(f"{share:.1%} (") and "20.0% of 1,800 an image" in beside.wanted
    assert "for one left out after its first look" in unwrap(" ".join(format_funnel(report)))


def test_a_table_without_memorised_images_is_refused() -> None:
    table = ScoreTable.read(TABLE)
    rows = [row for row in table.rows if row.group is not Group.MEMORISED]
    with pytest.raises(InputError, match="memorised and held-out"):
        report_funnel(table.model_copy(update={"rows": rows}))


def test_a_table_without_scores_under_captions_needs_them() -> None:
    with pytest.raises(InputError, match="give --scores"):
        report_funnel(ScoreTable.read(TABLE))


def test_scores_of_other_images_are_refused() -> None:
    scores = SearchTable.read(SCORES)
    with pytest.raises(InputError, match="of other images"):
        report_funnel(ScoreTable.read(TABLE), 1, scores.model_copy(update={"rows": scores.rows[:5]}))

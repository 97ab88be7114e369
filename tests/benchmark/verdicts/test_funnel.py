from pathlib import Path

import pytest

from imgaudit.benchmark.harness.cases import Group
from imgaudit.benchmark.harness.score_table import ScoreTable
from imgaudit.benchmark.searches.table import SearchTable
from imgaudit.benchmark.verdicts import funnel
from imgaudit.benchmark.verdicts.funnel import Spread, format_funnel, report_funnel
from imgaudit.exceptions import InputError

LABS = Path(__file__).parents[3] / "examples"
TABLE, SCORES = LABS / "labs/report-a/detection.json", LABS / "searches/report/report-a.json"


def test_a_spread_is_a_mean_with_the_range_of_95_percent_of_the_banks() -> None:
    spread = Spread.of([n / 100 for n in range(101)])
    assert (spread.mean, spread.low, spread.high) == pytest.approx((0.5, 0.025, 0.975))


def test_both_audits_of_a_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(funnel, "BANKS", 2)
    monkeypatch.setattr(funnel, "SHARES", (0.05, 0.5))
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
    assert all(len(line) <= 120 for line in format_funnel(report) if not line.startswith(("met", "MISSED")))


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

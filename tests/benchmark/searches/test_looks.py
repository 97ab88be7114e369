"""First looks of every kind: measured on a tiny lab, and counted on made-up tables."""

from dataclasses import replace
from pathlib import Path

import pytest

from imgaudit.benchmark.harness.cases import CaseCounts, Group
from imgaudit.benchmark.harness.lab_work import LabWork
from imgaudit.benchmark.searches.looks import format_looks, report_looks
from imgaudit.benchmark.searches.measuring import measure_lab
from imgaudit.benchmark.searches.table import (
    AUDITED_LOOK,
    CAPTION,
    INVERSION,
    LOOKS,
    SearchRow,
    SearchTable,
    name_look,
)
from imgaudit.benchmark.settings import SearchSettings
from imgaudit.schema.protocol import ErrorConfig
from tests.benchmark.budgets.test_budgets import lab

__all__ = ["lab"]

NAMES = [name_look(look) for look in LOOKS]
SCORES = Path(__file__).parents[3] / "examples/searches/report/report-a.json"


def test_looks_of_every_kind_are_measured(lab: LabWork, tmp_path: Path) -> None:
    counts = CaseCounts(controls=3, held_out=3, seen_once=1)
    table = measure_lab(replace(lab, folder=tmp_path), SearchSettings(looks="all"), counts)
    assert all(sorted(row.looks) == sorted(NAMES) for row in table.rows)
    plain = measure_lab(replace(lab, folder=tmp_path), SearchSettings(), counts)
    for row, without in zip(table.rows, plain.rows, strict=True):
        assert row.log_ratios == pytest.approx(without.log_ratios, rel=1e-6) and not without.looks
        # Captions need no search, so that their looks do not depend on how much of it came before.
        captions = {row.looks[name_look(look)][1] for look in LOOKS if look.draws == 16}
        assert len(captions) == 1
    alone = measure_lab(replace(lab, folder=tmp_path), SearchSettings(looks="audited"), counts)
    for row, one in zip(table.rows, alone.rows, strict=True):
        assert list(one.looks) == [name_look(AUDITED_LOOK)]
        assert one.looks[name_look(AUDITED_LOOK)] == pytest.approx(row.looks[name_look(AUDITED_LOOK)], abs=3e-6)
    table.write(tmp_path / "table.json")
    assert SearchTable.read(tmp_path / "table.json") == table


def looking(table: SearchTable, worse: str) -> SearchTable:
    """Give first looks to a table: each says what the score says, but for one kind, which says the opposite."""

    def see(row: SearchRow) -> SearchRow:
        pair = (row.log_ratios[INVERSION], row.log_ratios[CAPTION])
        looks = {name: (-pair[0], -pair[1]) if name == worse else pair for name in NAMES}
        return row.model_copy(update={"looks": looks})

    return table.model_copy(update={"rows": [see(row) for row in table.rows]})


def test_what_a_look_keeps_and_costs() -> None:
    table, worse = SearchTable.read(SCORES), name_look(AUDITED_LOOK)
    assert list(report_looks(table)) == []
    points = list(report_looks(looking(table, worse)))
    assert len(points) == 2 * len(NAMES) * 3
    for point in points:
        kept = point.kept
        assert 0 < kept.n <= len(table.of(Group.MEMORISED))
        # Images whose score is among the highest 5 % are among the highest 25 % of the same number.
        assert kept.hits == (0 if kept.name == worse else kept.n)
        if (point.search, point.draws, point.captions) == (0.125, 8, False):
            # 1 of 8 steps of 8 draws, forward and backward, and 8 draws under two conditions.
            first, whole = 16 + 16, 128 + 2 * ErrorConfig().draws
            assert point.cost == pytest.approx(first / whole, abs=point.share * 1.7)
            assert point.cost > first / whole
    lines = list(format_looks(points))
    assert len(lines) == 3 and all("100.0%" in line for line in lines[1:])

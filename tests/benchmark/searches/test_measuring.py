"""Every search on a tiny lab."""

from dataclasses import replace
from pathlib import Path

import pytest

from imgaudit.benchmark.harness.cases import CaseCounts
from imgaudit.benchmark.harness.lab_work import LabWork
from imgaudit.benchmark.searches import measuring
from imgaudit.benchmark.searches.measuring import measure_lab
from imgaudit.benchmark.searches.table import CAPTION, INVERSION, TEXTS, SearchTable
from imgaudit.benchmark.settings import SearchSettings
from imgaudit.schema.protocol import SpanConfig
from tests.benchmark.budgets.test_budgets import lab

__all__ = ["lab"]

COUNTS = CaseCounts(controls=3, held_out=3, seen_once=1)


@pytest.mark.parametrize("every", [False, True])
def test_every_search_scores_every_image(
    lab: LabWork,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    every: bool,
) -> None:
    monkeypatch.setattr(measuring, "SPAN", SpanConfig(texts=20, directions=4, steps=3))
    settings = SearchSettings(every=every)
    table = measure_lab(replace(lab, folder=tmp_path), settings, COUNTS)
    # The lab predicts noise: its audits do not search among texts.
    searches = {INVERSION, CAPTION, *([TEXTS] if every else [])}
    assert table.audited == INVERSION and set(table.evaluations) == searches
    assert len(table.rows) == 3 + 3 + 3 + 1 and len(table.bank) == 3
    assert all(set(row.log_ratios) == searches for row in table.rows)
    before = lab.denoiser.network_evaluations
    assert measure_lab(replace(lab, folder=tmp_path), settings, COUNTS) == table
    assert lab.denoiser.network_evaluations == before
    table.write(tmp_path / "table.json")
    assert SearchTable.read(tmp_path / "table.json") == table

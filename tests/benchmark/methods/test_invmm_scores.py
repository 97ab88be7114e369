"""InvMM with a part of the embedding free: it is handed on to the search, and the table says so."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from imgaudit.benchmark.budgets import invmm_baseline
from imgaudit.benchmark.methods.invmm_scores import InvMMTable, format_invmm, report_invmm
from imgaudit.schema.protocol import InvMMConfig
from tests.support.wrapping import unwrap

FLOW = Path(__file__).parents[3] / "examples" / "labs" / "flow" / "invmm-embedding.json"


def test_the_streams_that_were_free_are_named_in_the_table_and_only_they() -> None:
    table = InvMMTable.read(FLOW)
    assert "streams" not in table.model_dump(mode="json")
    assert "cpu; condition: embedding at most" in unwrap(" ".join(format_invmm(report_invmm(table))))
    some = table.model_copy(update={"streams": ["clip", "pooled"]})
    assert some.model_dump(mode="json")["streams"] == ["clip", "pooled"]
    assert "; condition: embedding of clip and pooled alone" in unwrap(" ".join(format_invmm(report_invmm(some))))


@pytest.mark.parametrize("streams", [None, ["pooled"]])
def test_the_search_is_given_the_streams(streams: list[str] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, Any]] = []
    monkeypatch.setattr(invmm_baseline, "invert_noise", lambda *_, **options: given.append(options) or [])
    work: Any = SimpleNamespace(encode=lambda targets: targets, denoiser=None, seed=3, executor=None)
    assert invmm_baseline.run_invmm(work, [], InvMMConfig(), streams) == []
    assert given == [{"run_seed": 3, "executor": None, "streams": streams}]

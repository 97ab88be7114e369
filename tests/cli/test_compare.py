"""The table of `imgaudit compare` on a terminal of 80 columns."""

import io

import pytest
from rich.console import Console
from typer.testing import CliRunner

from imgaudit.api import compare
from imgaudit.cli import app
from imgaudit.cli.compare import MOST_REASONS, _print_counts, _table
from imgaudit.cli.exit_codes import ExitCode
from imgaudit.runs.finished import read_finished_run
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.comparison import Change, ImageSide
from imgaudit.schema.findings import Verdict
from imgaudit.schema.records import Rung
from tests.support.finished_run import run

__all__ = ["run"]


def test_the_table_fits_and_breaks_no_word(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    outcome = CliRunner().invoke(app, ["compare", str(run.path), str(run.path)])
    assert outcome.exit_code in (0, ExitCode.INCOMPLETE), outcome.output
    table = outcome.output.split("\n\n")[1].splitlines()
    findings = read_finished_run(run.path).result.findings
    assert len(table) > len(findings) and max(map(len, table)) <= 80
    for finding in findings:
        assert any(finding.verdict.value.replace("_", " ") in line for line in table)


def test_the_widest_row_leaves_room_for_the_name(run: RunFolder) -> None:
    found = compare(run.path, run.path)
    image = next(one for one in found.images if one.shown and isinstance(one.a, ImageSide))
    assert image.shown and isinstance(image.a, ImageSide)
    forced = image.a.model_copy(update={"verdict": Verdict.REPLICATED_BY_INVERSION, "rung": Rung.EMBEDDING})
    other = forced.model_copy(update={"path": "/x/" + "long-" * 30 + "end.png", "rung": Rung.TOKENS})
    rung = image.shown.model_copy(
        update={
            "rung": Rung.PARAPHRASE, "difference": -1.0, "low": -1.0, "high": -0.86,
            "a": image.shown.a.model_copy(update={"hits": 64, "n": 64}),
            "b": image.shown.b.model_copy(update={"hits": 64, "n": 64}),
        }
    )  # fmt: skip
    changes = {"change": Change.HIGHER_RUNG, "a": other, "b": forced, "rungs": [rung], "q_value": 0.000123}
    row = image.model_copy(update={**changes, "rates_differ": True})
    out = io.StringIO()
    Console(file=out, width=80, legacy_windows=False).print(_table(found.model_copy(update={"images": [row]})))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    for whole in ("paraphrase 64/64, 64/64", "-100% [-100%, -86%]", "0.000123 *", "A: replicated by inversion"):
        assert sum(whole in line for line in lines) == 1, out.getvalue()
    [name] = [line for line in lines if ".png" in line]
    assert "long-" in name and "..." in name


def test_only_some_of_many_reasons_are_printed(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    found = compare(run.path, run.path)
    left_out = [
        found.images[0].model_copy(update={"change": Change.NOT_COMPARABLE, "reason": f"Because of {number}."})
        for number in range(MOST_REASONS + 3)
    ]
    _print_counts(found.model_copy(update={"images": left_out}))
    shown = capsys.readouterr().out
    assert shown.count("Because of") == MOST_REASONS and "and 3 more reasons, which --format markdown gives" in shown

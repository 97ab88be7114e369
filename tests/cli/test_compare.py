"""The table of `imgaudit compare` on a terminal of 80 columns."""

import pytest
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.cli.exit_codes import ExitCode
from imgaudit.runs.finished import read_finished_run
from imgaudit.runs.folder import RunFolder
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

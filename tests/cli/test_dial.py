"""`imgaudit dial` on a run that somebody else made."""

import json
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.exceptions import RunFolderError
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.findings import AuditResult
from tests.support.finished_run import result, run

__all__ = ["result", "run"]


@pytest.fixture
def edited(run: RunFolder, result: AuditResult) -> Iterator[RunFolder]:
    before = run.report_path.read_text("utf-8")
    content = json.loads(before)
    for finding in content["findings"]:
        if "path" in finding["best_replica"]:
            finding["best_replica"]["path"] = "../outside/picture.png"
    run.report_path.write_text(json.dumps(content), encoding="utf-8")
    yield run
    run.report_path.write_text(before, encoding="utf-8")


def test_a_report_that_names_a_picture_outside_of_the_run_is_refused(edited: RunFolder) -> None:
    done = CliRunner().invoke(app, ["dial", str(edited.path), "--model", "demo", "--seeds", "1"])
    assert isinstance(done.exception, RunFolderError) and "names a file outside its place" in str(done.exception)

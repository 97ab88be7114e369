"""Commands that continue a run: recorded and shown, and never with other controls."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.exceptions import RunFolderError
from imgaudit.io.writing import append_lines
from imgaudit.report.pages import continuing_commands
from imgaudit.runs.continuation import read_commands
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.history import read_history
from imgaudit.schema.findings import AuditResult
from tests.conftest import random_image

FAST = ["--steps", "1", "--draws", "1", "--seeds", "1", "--num-inference-steps", "1", "--device", "cpu", "-q"]


@pytest.fixture
def command(model_folder: Path, make_folder: Callable[..., Path], tmp_path: Path) -> list[str]:
    targets = str(make_folder("portfolio", range(2)))
    return ["audit", targets, "--model", str(model_folder), "--out", str(tmp_path / "run"), *FAST]


def audit(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> BaseException | None:
    monkeypatch.setattr("sys.argv", ["imgaudit", *arguments])
    done = CliRunner().invoke(app, arguments)
    return None if done.exit_code in (0, 3) else done.exception


def test_more_or_other_controls_than_a_run_has_are_refused_and_nothing_changes(
    command: list[str], make_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    controls, run = make_folder("controls", range(10, 14)), tmp_path / "run"
    assert audit(*command, "--controls", str(controls), monkeypatch=monkeypatch) is None
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    (controls / "unreadable.png").write_bytes(b"no image")
    random_image(99).save(controls / "more.png")
    refused = audit(*command, "--controls", str(controls), monkeypatch=monkeypatch)
    assert isinstance(refused, RunFolderError), refused
    for part in ("0 of its 4", "1 of those in the folder", "another --out", "Leave the option out"):
        assert part in str(refused)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    (controls / "more.png").unlink()
    assert audit(*command, "--controls", str(controls), monkeypatch=monkeypatch) is None
    assert audit(*command, monkeypatch=monkeypatch) is None
    entries = read_history(RunFolder(run)).entries
    # The finished run given again had nothing to do, so nothing is recorded of that.
    assert [one.start.command[-1] for one in entries] == [str(controls), "-q"]
    assert [one.start.work for one in entries] == ["audit", "continued audit"]


def test_controls_given_later_are_recorded_and_every_page_shows_the_command(
    command: list[str], make_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    controls, run = make_folder("controls", range(10, 14)), tmp_path / "run"
    assert audit(*command, "--no-controls", monkeypatch=monkeypatch) is None
    manifest = (run / "manifest.json").read_bytes()
    assert len(json.loads((run / "report.json").read_text(encoding="utf-8"))["run"]["history"]) == 1
    assert audit(*command, "--controls", str(controls), monkeypatch=monkeypatch) is None
    result = AuditResult.model_validate_json((run / "report.json").read_text(encoding="utf-8"))
    assert result.summary.controls == 4
    first, second = result.run["history"]
    assert second["command"][-1] == str(controls) and first["time"].startswith("20") and "continued" not in result.run
    pages = [run / "report" / f"{name}.html" for name in ("index", *(finding.id for finding in result.findings))]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert str(controls) in text and "continued audit, begun" in text and "wrote these pages" in text, page
    assert (run / "manifest.json").read_bytes() == manifest, "its hash names the run"
    evidence = json.loads((run / "evidence.json").read_text(encoding="utf-8"))
    assert "history.jsonl" in {one["path"] for one in evidence["growing"]}


def test_damaged_lines_and_foreign_values_are_left_out(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert read_commands(run) == []
    append_lines(run.continued_path, [{"time": "2026", "command": ["imgaudit", "audit", "<b>"]}])
    with run.continued_path.open("ab") as file:
        file.write(b'{"time": 1}\n[]\n{"command": 5, "time": ""}\nhalf')
    assert [one["command"] for one in read_commands(run)] == [["imgaudit", "audit", "<b>"]]
    for hostile in (5, [5], [{"command": 5}], {"command": []}):
        assert continuing_commands(AuditResult.model_construct(run={"continued": hostile})) == []

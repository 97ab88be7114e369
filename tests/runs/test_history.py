"""The history of a run: a line when a command begins and one when it ends, however it ends."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import imgaudit
from imgaudit.cli import app
from imgaudit.io.writing import read_json
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.history import Invocation, read_history
from imgaudit.runs.history_check import check_history
from tests.conftest import random_image

FAST = ["--steps", "1", "--draws", "1", "--seeds", "1", "--num-inference-steps", "1", "--device", "cpu", "-q"]


@pytest.fixture
def command(model_folder: Path, make_folder: Callable[..., Path], tmp_path: Path) -> list[str]:
    targets = str(make_folder("portfolio", range(2)))
    return ["audit", targets, "--model", str(model_folder), "--out", str(tmp_path / "run"), "--operator", "Ann", *FAST]


@pytest.fixture
def empty(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    run.manifest_path.write_text("{}")
    return run


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["imgaudit", *arguments])
    return CliRunner().invoke(app, arguments).exit_code


def test_every_command_that_changes_a_run_is_recorded_and_shown(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(tmp_path / "run")
    assert call(monkeypatch, *command, "--no-controls") in (0, 3)
    report = run.report_path.read_bytes()
    assert call(monkeypatch, "report", str(run.path)) in (0, 3)
    assert run.report_path.read_bytes() == report, "pages that are made again leave the result as it was"
    policy = tmp_path / "policy.toml"
    policy.write_text("level = 0.2\n")
    assert call(monkeypatch, "report", str(run.path), "--policy", str(policy), "--format", "json") in (0, 3)
    text = run.history_path.read_bytes()
    assert call(monkeypatch, "report", str(run.path), "--policy", str(policy), "--format", "csv") in (0, 3)
    assert run.history_path.read_bytes() == text, "text that is printed of the same result changes nothing"
    random_image(99).save(tmp_path / "portfolio" / "more.png")
    assert call(monkeypatch, *command, "--no-controls") in (0, 3)
    first, pages, decided, continued = read_history(run).entries
    assert [one.start.work for one in (first, pages, decided, continued)] == [
        "audit", "report", "report", "continued audit",
    ]  # fmt: skip
    assert first.start.operator == "Ann" and first.start.version == imgaudit.__version__
    assert first.start.command[1:3] == command[:2] and first.end is not None and decided.end is not None
    assert first.end.outcome == "finished" and first.end.changes["images_measured"] == 2
    assert decided.end.changes["policy"] == ["level: 0.2 here, 0.05 there"]
    assert continued.end is not None and continued.end.changes["images_measured"] == 0
    said = read_json(run.report_path)["run"]["history"]
    assert [one["number"] for one in said] == [1, 3, 4]
    assert not check_history(run).problems
    index = (run.path / "report" / "index.html").read_text(encoding="utf-8")
    assert "policy: [&#39;level: 0.2 here, 0.05 there&#39;]" in index and "wrote these pages" in index
    outcome = imgaudit.verify(run.path)
    assert outcome.matches, outcome.problems


def test_a_command_that_is_refused_leaves_no_line(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(monkeypatch, *command, "--no-controls") in (0, 3)
    held = RunFolder(tmp_path / "run").history_path.read_bytes()
    assert call(monkeypatch, *command, "--seed", "5", "--no-controls") not in (0, 3)
    assert RunFolder(tmp_path / "run").history_path.read_bytes() == held


def test_a_stop_and_an_error_are_told_apart(
    model_folder: Path, make_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, portfolio = (
        imgaudit.load_model(str(model_folder), "cpu"),
        imgaudit.read_portfolio(make_folder("p", range(2))),
    )
    config = imgaudit.AuditConfig(steps=1, draws=1, seeds=1, num_inference_steps=1, score_after=1, no_controls=True)
    run = RunFolder(tmp_path / "run")

    def stop(stage: str, done: int, total: int) -> None:
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        imgaudit.audit(model, portfolio, out=run.path, config=config, on_progress=stop)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
        patch.setattr("imgaudit.runs.audit.conclude", lambda run: (_ for _ in ()).throw(OSError("disk full")))
        imgaudit.audit(model, portfolio, out=run.path, config=config)
    imgaudit.audit(model, portfolio, out=run.path, config=config)
    ends = [one.end for one in read_history(run).entries]
    assert [one.outcome for one in ends if one] == ["interrupted", "error", "finished"]
    assert ends[1] is not None and ends[1].error == "OSError: disk full"
    assert not check_history(run).problems
    index = (run.path / "report" / "index.html").read_text(encoding="utf-8")
    assert "error: OSError: disk full" in index and "interrupted" in index


def test_a_kill_leaves_a_beginning_without_an_end(empty: RunFolder) -> None:
    Invocation(empty, "audit", ["imgaudit", "audit"]).start()
    with Invocation(empty, "audit", ["imgaudit", "audit", "\udcff"]) as second:
        assert not second.started
        second.start("continued audit")
        assert second.started
    first, after = read_history(empty).entries
    assert first.end is None and after.end is not None and after.start.number == 2
    assert "not UTF-8" in after.start.command[2]


def test_what_is_no_line_of_a_history_is_left_out(empty: RunFolder) -> None:
    with Invocation(empty, "audit", ["imgaudit"]) as invocation:
        invocation.start()
    with empty.history_path.open("ab") as file:
        for line in ([], {"event": "start"}, {"event": ["end"]}, 5):
            file.write(json.dumps(line).encode() + b"\n")
    assert len(read_history(empty).entries) == 1
    assert read_history(empty, 0).entries == ()
    length = read_history(empty).length
    assert length == empty.history_path.stat().st_size

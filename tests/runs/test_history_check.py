"""The history of a run that somebody edited: every line that was removed, put in, moved or made up is named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from imgaudit.io.writing import read_json, write_json
from imgaudit.report import finish_run
from imgaudit.runs.conclusion import conclude
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.history import Invocation, read_history
from imgaudit.runs.history_check import NO_HISTORY, check_history
from imgaudit.schema.manifest import AuditManifest
from tests.support.finished_run import result, run

__all__ = ["result", "run"]


@pytest.fixture
def changed(run: RunFolder, result: object, tmp_path: Path) -> RunFolder:
    """A copy of a finished run that two commands changed."""
    copy = RunFolder(Path(shutil.copytree(run.path, tmp_path / "copy")))
    command = AuditManifest.model_validate(read_json(copy.manifest_path)).command
    with Invocation(copy, "audit", command) as invocation:
        invocation.start(decides=True)
        invocation.changes["images_measured"] = 2
        finish_run(copy, conclude(copy), invocation)
    with Invocation(copy, "dial", ["imgaudit", "dial"]) as invocation:
        invocation.start()
    return copy


def edit(run: RunFolder, change: Callable[[list[bytes]], list[bytes]]) -> str:
    lines = run.history_path.read_bytes().splitlines(keepends=True)
    run.history_path.write_bytes(b"".join(change(lines)))
    return "\n".join(check_history(run).problems)


def test_a_history_as_it_was_written_passes(changed: RunFolder) -> None:
    check = check_history(changed)
    assert not check.problems and check.done.startswith("2 commands in 'history.jsonl'")
    assert len(read_json(changed.report_path)["run"]["history"]) == 1, "a dial decides nothing"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: [lines[0], *lines[2:]], "line 2 does not follow the line before"),
        (lambda lines: lines[1:], "line 1 does not follow the line before"),
        (lambda lines: [lines[0], lines[2], lines[1], lines[3]], "does not follow the line before"),
        (lambda lines: [*lines, lines[1]], "line 5"),
        (lambda lines: [lines[0].replace(b"audit", b"dial", 1), *lines[1:]], "line 1 was edited"),
        (lambda lines: [lines[0], b"half\n", *lines[1:]], "line 3 does not follow"),
        (lambda lines: [], "report.json names other commands"),
    ],
)
def test_edited_lines_are_named(changed: RunFolder, change: Callable[[list[bytes]], list[bytes]], said: str) -> None:
    assert said in edit(changed, change)


def test_a_history_that_was_linked_again_is_compared_with_manifest_and_report(changed: RunFolder) -> None:
    changed.history_path.unlink()
    with Invocation(changed, "audit", ["imgaudit", "audit", "other"], "Eve") as invocation:
        invocation.start(decides=True)
    problems = "\n".join(check_history(changed).problems)
    for said in ("another command than manifest", "another operator than manifest", "report.json names other commands"):
        assert said in problems


def test_a_report_with_other_commands_is_found(changed: RunFolder) -> None:
    content = read_json(changed.report_path)
    content["run"]["history"][0]["operator"] = "Eve"
    write_json(changed.report_path, content)
    assert "report.json names other commands" in check_history(changed).problems[0]
    for hostile in (5, None, {}, [1]):
        content["run"]["history"] = hostile
        write_json(changed.report_path, content)
        assert check_history(changed).problems


def test_a_command_without_an_end_is_said(changed: RunFolder) -> None:
    Invocation(changed, "dial", ["imgaudit", "dial"]).start()
    check = check_history(changed)
    assert not check.problems and any("command 3 (dial" in one and "killed" in one for one in check.not_done)
    assert read_history(changed).entries[2].end is None


def test_a_run_of_before_has_no_history_and_passes(run: RunFolder, result: object) -> None:
    check = check_history(run)
    assert check.not_done == (NO_HISTORY,) and not check.problems and not check.done


def test_a_history_that_is_a_link_or_of_another_run_is_named(
    changed: RunFolder, run: RunFolder, tmp_path: Path
) -> None:
    manifest = read_json(changed.manifest_path)
    write_json(changed.manifest_path, manifest | {"started": "2026-01-01T00:00:00+00:00"})
    assert any("line 1 does not follow" in one for one in check_history(changed).problems)
    write_json(changed.manifest_path, manifest)
    content = changed.history_path.read_bytes()
    (tmp_path / "elsewhere").write_bytes(content)
    changed.history_path.unlink()
    changed.history_path.symlink_to(tmp_path / "elsewhere")
    assert check_history(changed).problems
    assert json.loads(content.splitlines()[0])["event"] == "start"

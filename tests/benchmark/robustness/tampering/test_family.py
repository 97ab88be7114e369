"""Edits of finished runs: made on a small run, checked in this process; the command tries all of them."""

import json
import shutil
from pathlib import Path

import pytest

from imgaudit.benchmark.robustness.tally import Recorder
from imgaudit.benchmark.robustness.tampering import counts, pages, records, review
from imgaudit.benchmark.robustness.tampering.edit import Attacker, Edit, EditedRun
from imgaudit.benchmark.robustness.tampering.family import EDITS, choose_edits
from imgaudit.benchmark.robustness.tampering.harmless import HARMLESS, REVIEWERS, decide
from imgaudit.report import finish_run
from imgaudit.report.verification import verify
from imgaudit.runs.finished import read_result
from imgaudit.runs.folder import RunFolder
from tests.support.finished_run import result, run

__all__ = ["result", "run"]


@pytest.fixture
def reviewed_run(run: RunFolder, tmp_path: Path) -> Path:
    """A copy of the finished run with decisions, on pages that show them."""
    shutil.copytree(run.path, tmp_path / "reviewed")
    copy = RunFolder(tmp_path / "reviewed")
    decide(copy.path, REVIEWERS)
    finish_run(copy, read_result(copy))
    return copy.path


def edit_of(group: tuple[Edit, ...], kind: str) -> Edit:
    return next(edit for edit in group if edit.kind == kind)


def test_there_are_enough_kinds_and_each_has_its_own_name() -> None:
    assert len(EDITS) == len({edit.kind for edit in EDITS}) >= counts.KINDS
    assert all(edit.attackers and set(edit.attackers).isdisjoint(edit.by_head) for edit in EDITS)
    assert len(choose_edits(None)) == len(EDITS) and len(choose_edits(1)) == 9


@pytest.mark.parametrize("attacker", [Attacker.LEAVES, Attacker.LISTS])
@pytest.mark.parametrize(
    ("group", "kind"),
    [
        (pages.EDITS, "a page added"),
        (pages.EDITS, "a style that hides a row"),
        (records.EDITS, "records: a second record of an image"),
        (review.EDITS, "decisions: one in the middle removed"),
        (review.EDITS, "decisions: the last removed"),
    ],
)
def test_edits_are_found_and_the_file_named(
    reviewed_run: Path, group: tuple[Edit, ...], kind: str, attacker: Attacker
) -> None:
    copy = EditedRun(reviewed_run, reviewed_run)
    edit_of(group, kind).make(copy)
    copy.hide(attacker)
    said = verify(copy.path).problems
    assert said and any(name in problem for problem in said for name in copy.named)


@pytest.mark.parametrize("kind", [kind for kind in HARMLESS if kind != "read-only"])
def test_harmless_copies_pass(reviewed_run: Path, kind: str) -> None:
    assert verify(HARMLESS[kind](reviewed_run)).problems == []


def test_a_run_that_is_rewritten_as_a_whole_needs_the_head(reviewed_run: Path) -> None:
    head = json.loads((reviewed_run / "evidence.json").read_text())["complete_head"]
    copy = EditedRun(reviewed_run, reviewed_run)
    copy.change("manifest.json", lambda manifest: manifest.update(started="2020-01-01T00:00:00+00:00"))
    copy.hide(Attacker.DECIDES)
    assert verify(copy.path).problems == []
    assert verify(copy.path, head).problems


def test_an_edit_that_changes_nothing_is_an_error(reviewed_run: Path) -> None:
    copy = EditedRun(reviewed_run, reviewed_run)
    with pytest.raises(RuntimeError, match="does not hold"):
        copy.replace_text("report/index.html", "no such text", "")
    with pytest.raises(RuntimeError, match="no image with the verdict"):
        copy.verdicts("no such verdict")


def test_goals_are_judged_by_what_was_counted() -> None:
    assert counts.goals([]) == []
    recorder = Recorder()
    for number in range(counts.KINDS):
        recorder.count(counts.TAMPERED, f"edit {number}", counts.FOUND)
    recorder.count(counts.REWRITTEN, "edit 0", counts.BY_HEAD)
    recorder.count(counts.HARMLESS_COPIES, "untouched", counts.PASSES)
    assert all(goal.met for goal in counts.goals(recorder.tallies))
    assert "40 of 40 (100.0%, 91.2% to 100.0%) of 40 kinds" in counts.goals(recorder.tallies)[0].got
    recorder.count(counts.TAMPERED, "edit 0", counts.MISSED, ["not named"])
    recorder.count(counts.REWRITTEN, "edit 1", counts.MISSED, ["not found"])
    recorder.count(counts.HARMLESS_COPIES, "moved", counts.REFUSED, ["refused"])
    assert not any(goal.met for goal in counts.goals(recorder.tallies))

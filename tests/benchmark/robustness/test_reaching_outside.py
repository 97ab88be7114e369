"""Hostile run folders can be made of any run, and what they would do outside is noticed."""

import os
import shutil
import stat
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from imgaudit.benchmark.robustness import reaching_outside
from imgaudit.benchmark.robustness.attack import RobustnessReport
from imgaudit.benchmark.robustness.hostile.run_folders import COLOUR, ReceivedRun, hostile_runs, make_outside
from imgaudit.benchmark.robustness.reaching_outside import MARKER, SECTION, find_changes, find_taken_over, goals
from imgaudit.benchmark.robustness.tally import Recorder
from imgaudit.exceptions import RunFolderError
from imgaudit.io.containment import require_plain
from imgaudit.runs.finished import read_result
from imgaudit.runs.folder import MAX_FILE_BYTES, RunFolder
from imgaudit.schema.findings import AuditResult
from imgaudit.schema.records import Skipped
from tests.support.finished_run import result, run

__all__ = ["result", "run"]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has neither FIFOs nor links that a user may make")


@pytest.fixture
def folder(run: RunFolder, result: AuditResult) -> RunFolder:
    return run


def received(folder: RunFolder, place: Path) -> ReceivedRun:
    shutil.copytree(folder.path, place / "run")
    (place / "run" / "report").mkdir(exist_ok=True)
    for finding in read_result(folder).findings:
        if not isinstance(finding.best_replica, Skipped):
            make_outside(place / "outside", MARKER, finding.id)
            return ReceivedRun(place / "run", place / "outside", finding.id, finding.best_replica.path)
    raise AssertionError("no finding has a generated image")


def test_there_are_many_cases_and_none_twice() -> None:
    cases = [(case.kind, case.what) for case in hostile_runs()]
    assert len(set(cases)) == len(cases) >= 80
    assert {"link to a folder", "link to a file", "hard link", "FIFO", "8 GiB"} <= Counter(
        kind for kind, _ in cases
    ).keys()


def test_links_and_what_is_no_file_are_refused_before_anything_is_opened(folder: RunFolder, tmp_path: Path) -> None:
    refused = {"link to a folder", "link to a file", "link to what is not there", "FIFO", "socket", "device", "8 GiB"}
    for number, case in enumerate(case for case in hostile_runs() if case.kind in refused):
        copy = received(folder, tmp_path / str(number))
        before = reaching_outside.describe_folder(copy.outside)
        case.prepare(copy)
        with pytest.raises(RunFolderError), RunFolder(copy.path).lock():
            pytest.fail(f"{case.kind}, {case.what} was opened")
        with pytest.raises(RunFolderError):
            require_plain(copy.path, MAX_FILE_BYTES)
        assert list(find_changes(before, reaching_outside.describe_folder(copy.outside))) == [], case.what
        shutil.rmtree(copy.path.parent)


def test_what_a_command_does_outside_or_brings_inside_is_noticed(folder: RunFolder, tmp_path: Path) -> None:
    copy = received(folder, tmp_path)
    before = reaching_outside.describe_folder(copy.outside)
    assert list(find_taken_over([copy.path], copy)) == []
    (copy.outside / "canary.txt").write_text("changed")
    (copy.outside / "index.html").unlink()
    (copy.outside / "thumbs" / "new").touch()
    found = dict(find_changes(before, reaching_outside.describe_folder(copy.outside)))
    assert found.pop(".") == found.pop("thumbs") == "changed"
    assert found == {"canary.txt": "changed", "index.html": "deleted", "thumbs/new": "created"}
    (copy.path / "page.html").write_text(f"<p>{MARKER}</p>")
    Image.new("RGB", (9, 9), COLOUR).save(copy.path / "report" / "small.jpg")
    assert len(list(find_taken_over([copy.path], copy))) == 2


def test_a_command_that_escapes_is_counted_once() -> None:
    recorder = Recorder()
    assert list(goals(recorder.tallies)) == []
    recorder.count(SECTION, "FIFO", "refused")
    recorder.count(SECTION, "FIFO", "ended inside", ["report.json, report: exit code 9"])
    [goal] = goals(recorder.tallies)
    assert goal.met and goal.got.startswith("0 of 2 (0.0%, ")
    recorder.count(
        SECTION, "link", "ended inside", ["a, report: outside, x was changed", "a, report: outside, y was created"]
    )
    [goal] = goals(recorder.tallies)
    assert not goal.met and goal.got.startswith("1 of 3 ")


def test_a_hostile_png_is_small_and_whole(folder: RunFolder, tmp_path: Path) -> None:
    copy = received(folder, tmp_path)
    [case] = [case for case in hostile_runs() if case.kind == "small PNG of 64 million pixels"]
    case.prepare(copy)
    assert (copy.path / copy.replica).stat().st_size < 2**20 and stat.S_ISREG((copy.path / copy.replica).stat().st_mode)
    with Image.open(copy.path / copy.replica) as image:
        assert image.size == (8000, 8000)


def test_the_committed_table_holds_what_the_page_says() -> None:
    report = RobustnessReport.read(Path(__file__).parents[3] / "examples" / "robustness-run-folders.json")
    assert report.family == SECTION and report.tried >= 8 * len(hostile_runs()), report.tried
    assert all(goal.met for goal in report.targets), report.problems

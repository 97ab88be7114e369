"""Decisions are appended, never lost, and stay inside the run."""

import multiprocessing
from pathlib import Path

import pytest

from imgaudit.exceptions import RunFolderError
from imgaudit.report.review import (
    DecisionLedger,
    Ledger,
    ReviewedRun,
    read_reviewed_run,
)
from imgaudit.report.review import ledger as ledger_module
from imgaudit.runs.evidence import write_evidence
from imgaudit.runs.verification import verify_run
from tests.support.reviews import decision, ledger_of


def test_decisions_are_appended_and_the_newest_of_a_reviewer_holds(reviewed: ReviewedRun) -> None:
    ledger = ledger_of(reviewed)
    assert ledger.read() == Ledger((), ())
    first = decision(reviewed)
    second = decision(reviewed, decision="dispute", made="2026-05-05T10:00:00Z")
    older = decision(reviewed, decision="unsure", made="2026-05-01T10:00:00Z")
    other = decision(reviewed, reviewer="Bob", decision="unsure")
    assert ledger.append([first, first, second]) == 2
    assert ledger.append([older, other]) == 2 and ledger.append([first, second, older, other]) == 0
    read = ledger.read()
    assert read.history == (first, second, older, other)
    assert read.of_image(first.image_id) == [second, other]
    # What the machine said is as it was.
    assert verify_run(reviewed.folder).matches


def test_a_line_cut_by_a_kill_swallows_nothing_and_damage_is_reported(reviewed: ReviewedRun) -> None:
    ledger = ledger_of(reviewed)
    ledger.append([decision(reviewed)])
    whole = ledger.path.read_bytes()
    stranger = decision(reviewed, run_id="0" * 16)
    for cut in (1, len(whole) // 2, len(whole) - 2):
        ledger.path.write_bytes(whole + whole[:cut])
        assert ledger.append([decision(reviewed, reviewer="Bob")]) == 1
        read = ledger.read()
        assert [one.reviewer for one in read.history] == ["Ann", "Bob"]
        assert [(line.number, line.why) for line in read.damaged] == [(2, "damaged, or cut by a kill")]
        assert whole[:cut] in ledger.path.read_bytes()
    edited = whole.replace(b'"accept"', b'"unsure"')
    ledger.path.write_bytes(edited + b"\xff\xfe\n[" * 3 + b"\n" + whole)
    read = ledger.read()
    assert len(read.history) == 1 and len(read.damaged) == 5
    DecisionLedger(reviewed.folder, "0" * 16).append([stranger])
    assert ledger.read().damaged[-1].why == f"of run {'0' * 16}"


def append_some(path: str, name: str) -> None:
    reviewed = read_reviewed_run(Path(path))
    for number in range(5):
        ledger_of(reviewed).append([decision(reviewed, reviewer=f"{name} {number}")])


def test_processes_that_append_at_once_lose_nothing(reviewed: ReviewedRun) -> None:
    context = multiprocessing.get_context("spawn")
    path = str(reviewed.folder.path)
    processes = [context.Process(target=append_some, args=(path, name)) for name in ("Ann", "Bob")]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    read = ledger_of(reviewed).read()
    assert len(read.history) == 10 and not read.damaged


def test_a_strangers_run_makes_nothing_land_outside(reviewed: ReviewedRun, tmp_path: Path) -> None:
    ledger = ledger_of(reviewed)
    outside = tmp_path / "outside"
    outside.mkdir()
    ledger.folder.symlink_to(outside)
    with pytest.raises(RunFolderError, match="must be a folder of the run, and no link"):
        ledger.append([decision(reviewed)])
    ledger.folder.unlink()
    ledger.folder.mkdir()
    for name in ("decisions.jsonl", ".lock"):
        (ledger.folder / name).symlink_to(outside / "file")
        with pytest.raises(RunFolderError, match="must be a regular file of the run"):
            ledger.append([decision(reviewed)])
        (ledger.folder / name).unlink()
    assert not list(outside.iterdir())


def test_a_ledger_has_an_end(reviewed: ReviewedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "LARGEST_LEDGER", 3000)
    ledger = ledger_of(reviewed)
    with pytest.raises(RunFolderError, match="may have at most 3,000"):
        ledger.append([decision(reviewed, comment="x" * 1000)])
    assert ledger.read().history == ()
    ledger.path.write_bytes(b"x" * 3001)
    with pytest.raises(RunFolderError, match="at most 3,000 are read"):
        ledger.read()


def test_a_review_is_no_evidence_and_does_not_make_a_run_look_changed(reviewed: ReviewedRun) -> None:
    before = verify_run(reviewed.folder).head
    ledger_of(reviewed).append([decision(reviewed)])
    write_evidence(reviewed.folder)
    assert verify_run(reviewed.folder).head == before

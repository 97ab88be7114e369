"""Decisions that were removed, edited, moved or put in are found; so are decisions on images of no run."""

import shutil
from pathlib import Path

import pytest

from imgaudit.io.writing import append_lines, read_line
from imgaudit.report.review import ReviewedRun, read_reviewed_run
from imgaudit.report.review.checking import check_ledger
from imgaudit.runs.folder import RunFolder
from tests.support.reviews import decision, ledger_of

LEDGER = "'review/decisions.jsonl'"


@pytest.fixture
def decided(reviewed: ReviewedRun, tmp_path: Path) -> ReviewedRun:
    """A copy of the run with four decisions."""
    shutil.copytree(reviewed.folder.path, tmp_path / "decided")
    copy = read_reviewed_run(tmp_path / "decided")
    ledger_of(copy).append([decision(copy, reviewer=name) for name in ("Ann", "Bob")])
    ledger_of(copy).append([decision(copy, reviewer="Cyd", decision="dispute")])
    ledger_of(copy).append([decision(copy, number=1, reviewer="Ann")])
    return copy


def lines_of(decided: ReviewedRun) -> list[bytes]:
    return ledger_of(decided).path.read_bytes().splitlines(keepends=True)


def put(decided: ReviewedRun, *lines: bytes) -> list[str]:
    ledger_of(decided).path.write_bytes(b"".join(lines))
    return list(check_ledger(decided.folder).problems)


def test_a_ledger_that_only_grew_is_sound(decided: ReviewedRun, run: RunFolder) -> None:
    check = check_ledger(decided.folder)
    assert check.done.startswith("4 decisions") and not check.problems
    assert len(check.not_done) == 1 and "cut off at the end" in check.not_done[0]
    without = check_ledger(run)
    assert not without.done and not without.problems and not without.not_done


def test_removed_edited_moved_and_inserted_lines_are_found(decided: ReviewedRun, tmp_path: Path) -> None:
    a, b, c, d = lines_of(decided)
    follows = "does not follow the line before"
    assert follows in put(decided, a, c, d)[0]
    assert follows in put(decided, b, c, d)[0]
    assert follows in put(decided, a, c, b, d)[0]
    assert follows in put(decided, a, b, a, c, d)[0]
    assert "was edited" in put(decided, a, b, c.replace(b'"dispute"', b'"accept"'), d)[0]
    assert "was edited" in put(decided, a, b, c, d.replace(b'"accept"', b'"unsure"'))[0]
    record = read_line(c)
    assert record is not None
    append_lines(tmp_path / "again.jsonl", [record | {"decision": "accept"}])
    again = (tmp_path / "again.jsonl").read_bytes()
    assert put(decided, a, b, again, d)[0].startswith(f"{LEDGER}: line 3 {follows}")
    del record["link"]
    append_lines(tmp_path / "plain.jsonl", [record | {"reviewer": "Eve"}])
    assert "line 3 has no link" in put(decided, a, b, (tmp_path / "plain.jsonl").read_bytes(), c, d)[0]
    assert not put(decided, a, b, c, d)


def test_a_line_that_a_kill_left_is_no_edit(decided: ReviewedRun) -> None:
    lines = lines_of(decided)
    assert not put(decided, *lines, lines[0][:40])
    ledger_of(decided).append([decision(decided, reviewer="Dan")])
    check = check_ledger(decided.folder)
    assert not check.problems and any("line 5" in one and "kill" in one for one in check.not_done)


def test_decisions_on_unknown_images_and_other_verdicts_are_named(decided: ReviewedRun) -> None:
    ledger = ledger_of(decided)
    sha256 = "f" * 64
    ledger.append([decision(decided, image_id=sha256[:16], sha256=sha256)])
    ledger.append([decision(decided, machine_verdict="skipped", reviewer="Eve")])
    ledger.append([decision(decided, run_id="0" * 16, reviewer="Gus")])
    ledger.append([decision(decided, result_sha256=sha256, machine_verdict="skipped", reviewer="Fay")])
    said = check_ledger(decided.folder).problems
    assert [problem.split(":")[1].split()[:2] for problem in said] == [["line", "5"], ["line", "6"], ["line", "7"]]
    assert "no image of this run" in said[0] and "the verdict was skipped" in said[1] and "of run 000" in said[2]


def test_old_ledgers_are_read_and_what_they_cannot_show_is_said(decided: ReviewedRun) -> None:
    ledger = ledger_of(decided)
    records = [read_line(line) for line in lines_of(decided)]
    ledger.path.unlink()
    append_lines(ledger.path, [{k: v for k, v in one.items() if k != "link"} for one in records if one])
    assert len(ledger.read().history) == 4
    check = check_ledger(decided.folder)
    assert not check.problems and check.not_done[0].startswith("4 decisions at the beginning")
    ledger.append([decision(decided, reviewer="Dan")])
    assert put(decided, *lines_of(decided)[1:])


def test_many_problems_are_counted_and_a_link_is_named(decided: ReviewedRun, tmp_path: Path) -> None:
    lines = lines_of(decided)
    said = put(decided, *([lines[1], lines[0]] * 60))
    assert len(said) == 51 and "more problems" in said[-1]
    path = ledger_of(decided).path
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert "decisions.jsonl" in check_ledger(decided.folder).problems[0]


def test_a_changed_manifest_is_named_by_the_decisions(decided: ReviewedRun) -> None:
    path = decided.folder.manifest_path
    path.write_text(path.read_text(encoding="utf-8").replace('"operator": ""', '"operator": "X"'), encoding="utf-8")
    [said] = check_ledger(decided.folder).problems
    assert "every decision is on run" in said and "'manifest.json' makes this run" in said

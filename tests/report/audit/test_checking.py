"""Pages are rendered again and compared: whatever was changed, removed or added in report/ is named."""

import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from imgaudit.io.writing import write_json
from imgaudit.report import write_report
from imgaudit.report.audit import checking
from imgaudit.report.audit.checking import check_pages
from imgaudit.report.audit.rendering import RENDERING
from imgaudit.report.review import read_reviewed_run
from imgaudit.report.verification import verify
from imgaudit.runs.finished import read_result
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.findings import Verdict
from tests.support.reviews import decision, ledger_of


@pytest.fixture
def copy(run: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy of the finished run, to be changed."""
    shutil.copytree(run.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def first_page(run: RunFolder) -> Path:
    return run.path / "report" / f"{read_result(run).findings[0].id}.html"


def test_pages_that_nobody_touched_are_the_same(copy: RunFolder) -> None:
    check = check_pages(copy)
    files = [path for path in (copy.path / "report").rglob("*") if path.is_file()]
    assert not check.problems and not check.not_done
    assert check.done == f"{len(files)} files in 'report' were rendered again and compared byte for byte"
    # Neither time nor place of a folder is on a page.
    moved = copy.path.rename(copy.path.with_name("moved"))
    for path in moved.rglob("*"):
        os.utime(path, (1e9, 1e9))
    assert not check_pages(RunFolder(moved)).problems


def test_rewritten_pages_are_named_by_verify(copy: RunFolder) -> None:
    before, after = Verdict.NOT_REPRODUCED.label, Verdict.REPLICATED.label
    rewritten = []
    for path in (copy.path / "report").rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        other = text.replace(before, "\0").replace(after, before).replace("\0", after)
        if other != text:
            path.write_text(other, encoding="utf-8")
            rewritten.append(path.relative_to(copy.path).as_posix())
    assert rewritten
    said = verify(copy.path).problems
    assert all(any(f"{name!r} was changed" in problem for problem in said) for name in rewritten)


def test_changed_missing_and_added_files_are_named(copy: RunFolder, tmp_path: Path) -> None:
    report = copy.path / "report"
    first_page(copy).unlink()
    (report / "findings.csv").write_bytes(b"id\n")
    (report / "notes" / "deep").mkdir(parents=True)
    (report / "notes" / "deep" / "more.html").write_text("<p>")
    (report / ".index.html.0123456789abcdef.partial").write_text("left by a kill")
    (report / "link").symlink_to(tmp_path)
    (report / "assets" / "theme.js").unlink()
    (report / "assets" / "theme.js").symlink_to(tmp_path / "theme.js")
    os.mkfifo(report / "fifo")
    script = next((report / "data").glob("images-*.js"))
    script.write_text(script.read_text().replace("not_reproduced", "replicated_").replace("replicated", "x"))
    assert sorted(problem.split("'")[1] for problem in check_pages(copy).problems) == sorted(
        [f"report/{first_page(copy).name}", "report/findings.csv", "report/notes/deep/more.html", "report/link",
         "report/assets/theme.js", "report/fifo", f"report/data/{script.name}"]
    )  # fmt: skip


def test_many_files_are_counted(copy: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(checking.NAMED + 7):
        (copy.path / "report" / f"{number}.html").write_text("")
    said = check_pages(copy).problems
    assert len(said) == checking.NAMED + 1 and said[-1].startswith("7 more files")
    monkeypatch.setattr(checking, "MOST_FILES", 20)
    assert "more than 20 entries" in check_pages(copy).problems[0]


def test_thumbnails_may_differ_in_bytes_and_not_in_what_they_show(copy: RunFolder) -> None:
    thumbnail = next((copy.path / "report" / "thumbs").glob("*-target.jpg"))
    with Image.open(thumbnail) as image:
        pixels = image.convert("RGB")
    pixels.save(thumbnail, quality=100, subsampling=0)
    check = check_pages(copy)
    assert not check.problems and "1 pictures have other bytes and the same pixels" in check.done
    pixels.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(thumbnail, quality=100, subsampling=0)
    assert [thumbnail.name in problem for problem in check_pages(copy).problems] == [True]
    thumbnail.write_bytes(b"no picture")
    assert [thumbnail.name in problem for problem in check_pages(copy).problems] == [True]


def test_pages_show_the_decisions_that_were_there(copy: RunFolder) -> None:
    reviewed = read_reviewed_run(copy.path)
    ledger = ledger_of(reviewed)
    ledger.append([decision(reviewed)])
    assert check_pages(copy).not_done == (checking.LATER,) and not check_pages(copy).problems
    write_report(copy, read_result(copy))
    assert not check_pages(copy).not_done and not check_pages(copy).problems
    ledger.append([decision(reviewed, reviewer="Bob", decision="dispute")])
    check = check_pages(copy)
    assert check.not_done == (checking.LATER,) and not check.problems
    ledger.path.write_bytes(b"")
    said = check_pages(copy).problems
    assert "'review/decisions.jsonl' has 0 bytes" in said[0]
    assert any(f"{decision(reviewed).image_id}.html" in problem for problem in said)


@pytest.mark.parametrize("change", [{"version": "0.0.9"}, {"code": "0" * 16}])
def test_pages_of_other_code_show_nothing_and_that_is_said(copy: RunFolder, change: dict[str, str]) -> None:
    path = copy.path / "report" / RENDERING
    write_json(path, json.loads(path.read_text()) | change)
    check = check_pages(copy)
    assert check.done and not check.problems and not check.not_done
    first_page(copy).write_text("as version 0.0.9 wrote it")
    check = check_pages(copy)
    assert not check.done and not check.problems
    assert all(said in check.not_done[0] for said in ("1 of their files", *change.values(), "imgaudit report RUN"))


def test_pages_before_versions_were_recorded(copy: RunFolder) -> None:
    (copy.path / "report" / RENDERING).unlink()
    assert f"'report/{RENDERING}' is missing" in check_pages(copy).problems[0]
    # The first format of evidence.json, which came before report/rendering.json.
    write_json(copy.path / "evidence.json", {"files": [], "head": ""})
    check = check_pages(copy)
    assert check.done and not check.problems
    first_page(copy).write_text("as an older version wrote it")
    check = check_pages(copy)
    assert not check.done and "an older version" in check.not_done[0]
    shutil.rmtree(copy.path / "report")
    assert "no folder 'report'" in check_pages(copy).not_done[0]


def test_damage_that_stops_rendering_is_a_problem(copy: RunFolder) -> None:
    (copy.path / "report" / RENDERING).write_text('{"version": 1}')
    assert f"'report/{RENDERING}' is damaged" in check_pages(copy).problems[0]
    write_report(copy, read_result(copy))
    result = json.loads(copy.report_path.read_text())
    result["run"]["model"] = {}
    write_json(copy.report_path, result)
    assert "'report' cannot be rendered" in check_pages(copy).problems[0]

"""The file for counsel: what it says, what it holds and leaves out, and how it prints."""

import base64
import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.exceptions import InputError
from imgaudit.io.writing import read_json
from imgaudit.report.counsel import document
from imgaudit.report.counsel.document import make_document, render_counsel
from imgaudit.report.wording import WORDING
from imgaudit.runs.finished import FinishedRun, read_finished_run
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.history import Invocation
from imgaudit.schema.findings import Verdict
from imgaudit.schema.records import Rung, RungMeasurement

FITS = """() => [...document.querySelectorAll('main *')]
    .filter(one => one.getBoundingClientRect().right > document.documentElement.clientWidth + 1
        || one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).display !== 'inline')
    .map(one => one.tagName + ': ' + one.textContent.slice(0, 80))"""
"""Script that lists what is wider than its place or the page."""


@pytest.fixture
def finished(folder: RunFolder) -> FinishedRun:
    return read_finished_run(folder.path)


def test_it_answers_in_the_order_of_a_readers_questions(finished: FinishedRun) -> None:
    written = make_document(finished)
    titles = [section.title for section in written.sections]
    assert titles[0] == "The answer" and titles[1].startswith("Exhibit 1: ") and titles[2].startswith("Exhibit 2: ")
    assert titles[3:] == [
        "The other images", "How often the method errs", "What was not tested, and what this does not say",
        "Examiner, machine and model", "History of the run", "How to check this", "Appendix: the method",
        "Appendix: words used here",
    ]  # fmt: skip
    page = render_counsel(finished).replace("&#39;", "'").replace("&#34;", '"')
    measured = next(one for one in finished.measurements.values() if "plain" in one.path)
    head = read_json(finished.folder.path / "evidence.json")["head"]
    wanted = [
        "Of 3 images examined, the model “memoriser &lt;script&gt;” reproduces 2, each of them when it is asked in",
        "plain.png", measured.sha256, "“0”", "Similarity of this image and the rendering: pixel 1.000",
        "Similarity of the owner's picture (its examined part) and this rendering: pixel",
        "The owner's picture, 16 x 16 pixels. The whole picture was examined.", "It counts as a copy.",
        "generated images are copies", "exchangeable with the controls", "199 count in p-values and thresholds",
        "An image like the controls gets a p-value of 0.05 or less with a probability between",
        "Other wordings of its text", "=cmd.png", "does not say whether a use is lawful",
        "not named: the audit was run",
        finished.manifest.model.fingerprint, finished.result.protocol.hash, finished.result.policy.hash, head,
        f"imgaudit verify RUN --head {head}", "none is quoted here", "none: the run records the targets",
        WORDING[Verdict.REPLICATED].limit, "one digest over everything that a run measured and decided",
    ]  # fmt: skip
    for part in wanted:
        assert part.lower() in page.lower(), part


def test_rules_of_before_are_not_claimed_for_verdicts_that_were_decided_again(finished: FinishedRun) -> None:
    assert "Each verdict is what these rules give" in render_counsel(finished)
    again = finished.result.model_copy(update={"redecided": ["level: 0.1 here, 0.05 there"]})
    page = render_counsel(replace(finished, result=again))
    assert "decided again, by other rules" in page and "Each verdict is what these rules give" not in page


def test_it_holds_everything_and_runs_nothing(finished: FinishedRun) -> None:
    page = render_counsel(finished)
    assert page == render_counsel(read_finished_run(finished.folder.path))
    style = re.findall("<style>(.*?)</style>", page, re.DOTALL)
    assert len(style) == 1
    digest = base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode()
    policy = re.findall('Content-Security-Policy" content="([^"]*)"', page)
    assert policy == [
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    ]
    tags = re.findall("<[^>]*>", page.replace(style[0], ""))
    assert not [tag for tag in tags if re.search(r"<(script|link|iframe|object|base|form)| on\w+=|style=|href=", tag)]
    assert re.findall(r'src="([^,]*),', page) == ["data:image/png;base64"] * 6


def test_hostile_names_and_captions_are_text(folder: RunFolder) -> None:
    measured = next(one for one in folder.read_measurements()[0] if "plain" in one.path)
    caption = measured.rungs[Rung.CAPTION]
    assert isinstance(caption, RungMeasurement)
    rungs = measured.rungs | {Rung.CAPTION: caption.model_copy(update={"texts": ["</style><script>alert(1)</script>"]})}
    folder.append_record({"stage": "measured", **measured.model_copy(update={"rungs": rungs}).model_dump(mode="json")})
    page = render_counsel(read_finished_run(folder.path))
    assert "<script" not in page and "&lt;/style&gt;&lt;script&gt;alert(1)" in page
    assert "<img src=x" not in page and "&lt;img src=x onerror=alert(1)&gt;{{7*7}}[red]" in page


def test_it_names_no_folder_of_the_machine(folder: RunFolder) -> None:
    assert folder.calibration_path.is_file()
    with folder.lock(), Invocation(folder, "report", ["imgaudit", "report", "/secret/place/run"]) as invocation:
        invocation.start()
        invocation.end("error", "'/hidden/place/policy.toml' is missing")
    finished = read_finished_run(folder.path)
    assert finished.bank is not None
    [source] = finished.bank.sources
    named = finished.bank.model_copy(update={"sources": [source.model_copy(update={"note": "folder /vault/controls"})]})
    page = render_counsel(replace(finished, bank=named))
    home = finished.result.findings[0].path.rsplit("/", 1)[0]
    assert Path(home).is_absolute()
    for place in (home, "/secret", "/hidden", "/vault", "/tmp/"):
        assert place not in page, place
    assert "imgaudit report run" in page and "folder controls" in page


def test_images_can_be_chosen_and_the_rest_is_counted(finished: FinishedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = make_document(finished, ["plain.png"])
    assert [section.title for section in chosen.sections if section.kind] == ["Exhibit 1: plain.png"]
    assert "Some images in this table count as reproduced" in str(chosen)
    with pytest.raises(InputError, match="of the 2 images"):
        make_document(finished, ["other.png"])
    monkeypatch.setattr(document, "LISTED", 1)
    monkeypatch.setattr(document, "EXHIBITS", 1)
    few = str(make_document(finished))
    assert few.count("kind='exhibit'") == 1 and "Not listed here: 1 more images (Not measured: 1)" in few


def test_the_command_writes_a_new_file_outside_the_run(folder: RunFolder, tmp_path: Path) -> None:
    before = sorted(path for path in folder.path.rglob("*") if path.is_file())
    command = ["report", str(folder.path), "--format", "counsel", "--output"]
    done = CliRunner().invoke(app, [*command, str(tmp_path / "counsel.html")])
    assert done.exit_code == 3 and done.output.strip().endswith("counsel.html")
    assert (tmp_path / "counsel.html").read_text().startswith("<!doctype html>")
    assert sorted(path for path in folder.path.rglob("*") if path.is_file()) == before
    for output, message in ((tmp_path / "counsel.html", "exists already"), (folder.path / "c.html", "lies in the run")):
        refused = CliRunner().invoke(app, [*command, str(output)])
        assert isinstance(refused.exception, InputError) and message in str(refused.exception)
    with pytest.raises(InputError, match="belong to --format counsel"):
        CliRunner().invoke(app, ["report", str(folder.path), "--image", "a"], catch_exceptions=False)


@pytest.mark.browser
def test_it_prints_without_overflow_on_a4_and_letter(finished: FinishedRun, browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "counsel.html"
    path.write_text(render_counsel(finished))
    # The widths between the margins, in CSS pixels.
    for paper, width in (("A4", 657), ("Letter", 680)):
        page = browser.new_page(viewport={"width": width, "height": 900})
        problems: list[str] = []
        page.on("console", lambda message, found=problems: found.append(message.text))
        page.goto(path.as_uri())
        page.emulate_media(media="print")
        assert page.evaluate(FITS) == [] and problems == []
        assert page.evaluate("[...document.images].every(one => one.complete && one.naturalWidth > 0)")
        printed = page.pdf(format=paper, prefer_css_page_size=False)
        pages = len(re.findall(rb"/Type\s*/Page\b", printed))
        assert printed.startswith(b"%PDF") and 6 <= pages <= 10, pages
        page.close()

"""The pages on a desktop, on a telephone and on paper: what is shown, how high it is, and that nothing is cut off."""

import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page
from pypdf import PdfReader

from imgaudit.benchmark.reports.run import make_run
from imgaudit.report import write_report
from imgaudit.report.answer import answer_question
from imgaudit.report.set_level import SET_LIMIT
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.findings import AuditResult, Finding, Verdict
from imgaudit.schema.records import Skipped
from imgaudit.schema.set_level import SetLevel
from tests.support.axe_options import choose_rules

pytestmark = pytest.mark.browser

A4 = (210 / 25.4 * 72, 297 / 25.4 * 72)
"""Width and height of a sheet in points."""

PRINTABLE = round((210 - 2 * 12) / 25.4 * 96)
"""Width between the margins in CSS pixels."""

SHEET = round(210 / 25.4 * 96)
"""Width of a sheet in CSS pixels."""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages of 24 images; one of them could be read and was not measured."""
    folder = tmp_path_factory.mktemp("paper") / "run"
    result = make_run(folder, 24, side=24, seed=3)
    last = result.findings[-1]
    nothing = Skipped(skipped="the file is a single colour: no comparison could recognise it")
    skipped = last.model_copy(
        update={
            "verdict": Verdict.SKIPPED, "sha256": "", "reason": f"Not measured: {nothing.skipped}.",
            "best_replica": nothing, "p_value": nothing, "q_value": nothing, "replication": [], "error": nothing,
        }
    )  # fmt: skip
    counts = dict(result.summary.counts)
    counts[last.verdict] -= 1
    counts[Verdict.SKIPPED] += 1
    as_set = SetLevel(
        p_value=0.0123, works=23, left_out=0, controls=240, ahead={"score": 0.6}, permutations=9_999, seed=1
    )
    summary = result.summary.model_copy(update={"counts": counts, "set_level": as_set})
    result = result.model_copy(update={"findings": [*result.findings[:-1], skipped], "summary": summary})
    run = RunFolder(folder)
    lines = run.records_path.read_text().splitlines(keepends=True)
    run.records_path.write_text("".join(line for line in lines if last.id not in line))
    run.report_path.write_text(result.model_dump_json(), encoding="utf-8")
    write_report(run, result)
    return folder / "report"


def result_of(pages: Path) -> AuditResult:
    return AuditResult.model_validate_json((pages.parent / "report.json").read_bytes())


def copied(pages: Path) -> Finding:
    return next(one for one in result_of(pages).findings if one.verdict is Verdict.REPLICATED)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield context.new_page()
    context.close()


def opened(page: Page, path: Path) -> Page:
    page.goto(path.as_uri())
    if path.name == "index.html":
        page.wait_for_selector("html[data-ready]")
    return page


def printed(page: Page, path: Path) -> PdfReader:
    """Print a page at once, as `chromium --headless --print-to-pdf` does."""
    return PdfReader(io.BytesIO(opened(page, path).pdf(format="A4", print_background=True)))


def test_the_answer_comes_first_and_has_its_colour(page: Page, pages: Path) -> None:
    answer = answer_question(result_of(pages).summary)
    shown = opened(page, pages / "index.html").locator(".answer")
    assert answer.word == "Yes" and shown.inner_text() == f"{answer.word}: {answer.sentence}"
    red = page.locator(".badge.verdict-replicated").first.evaluate("e => getComputedStyle(e).color")
    assert shown.evaluate("e => getComputedStyle(e).color") == red
    assert page.locator("header + .answer").count() == 1 and page.locator(".banner.complete").count() == 0


def test_rows_are_low_and_hold_the_number_that_decided(page: Page, pages: Path) -> None:
    opened(page, pages / "index.html")
    heights = page.locator("#findings tr").evaluate_all("all => all.map(row => row.getBoundingClientRect().height)")
    assert len(heights) == 24 and max(heights) <= 120
    assert page.locator("#findings .verdict-replicated_by_inversion").count() >= 1
    assert page.locator("#table").evaluate("e => e.scrollWidth <= e.clientWidth"), "the last column is cut off"
    level = result_of(pages).summary.level
    for row in page.locator("#findings tr:has(.verdict-replicated)").all():
        assert float(row.locator("td").nth(7).inner_text().split()[0]) <= level


def test_a_telephone_shows_the_generated_image_beside_the_image(page: Page, pages: Path) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    opened(page, pages / "index.html")
    row = page.locator("#findings tr").first
    boxes = [row.locator("img").nth(place).bounding_box() for place in (0, 1)]
    assert boxes[0] and boxes[1] and min(box["width"] for box in boxes if box) >= 60
    assert boxes[0]["y"] == boxes[1]["y"] and boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
    assert row.locator(".deciding").get_attribute("data-name") == "Deciding q"
    heights = page.locator("#findings tr").evaluate_all("all => all.map(row => row.getBoundingClientRect().height)")
    assert sorted(heights)[len(heights) // 2] <= 120 and max(heights) <= 150, "a reason or an alarm takes another line"
    for path in sorted(pages.glob("*.html")):
        opened(page, path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path.name
    opened(page, pages / f"{copied(pages).id}.html")
    panes = [page.locator(name).bounding_box() for name in ("#target", "#replica")]
    assert panes[0] and panes[1] and panes[0]["y"] == panes[1]["y"] and panes[1]["x"] + panes[1]["width"] <= 390


def test_24_images_print_on_four_sheets_with_every_column(page: Page, pages: Path) -> None:
    found = printed(page, pages / "index.html")
    assert len(found.pages) <= 4
    outside: list[str] = []

    def check(text: str, page_matrix: list[float], text_matrix: list[float], *rest: object) -> None:
        x = text_matrix[4] * page_matrix[0] + text_matrix[5] * page_matrix[2] + page_matrix[4]
        if text.strip() and not 0 <= x <= A4[0]:
            outside.append(text)

    said = [sheet.extract_text(visitor_text=check) for sheet in found.pages]
    assert outside == []
    assert SET_LIMIT[-40:] in " ".join(" ".join(said).split()), "what opens on a screen is open on paper"
    whole = " ".join(" ".join(said).split())
    for finding in result_of(pages).findings:
        assert isinstance(finding.q_value, Skipped) or f"{finding.q_value:.3g}" in whole
    fingerprint = result_of(pages).run["model"]["fingerprint"]
    assert all(fingerprint in text for text in said)


@pytest.mark.parametrize("which", ["index", "image"])
def test_no_table_is_wider_than_the_sheet(page: Page, pages: Path, which: str) -> None:
    # A page is laid out for the whole sheet, within its margins: a narrower window would get a telephone's layout.
    page.set_viewport_size({"width": SHEET, "height": 1000})
    opened(page, pages / ("index.html" if which == "index" else f"{copied(pages).id}.html"))
    page.emulate_media(media="print")
    page.evaluate("width => { document.body.style.margin = 0; document.body.style.width = width + 'px' }", PRINTABLE)
    wide = page.locator("table, dl, pre, figure").evaluate_all(
        "(all, most) => all.map(e => e.getBoundingClientRect()).filter(box => box.right > most + 1).length", PRINTABLE
    )
    assert wide == 0 and page.evaluate("document.body.scrollWidth") <= PRINTABLE
    assert (
        which == "image"
        or page.locator("#findings tr").first.evaluate("e => getComputedStyle(e).display") == "table-row"
    )
    names = page.locator("#findings .name")
    assert which == "image" or names.count() == 24
    right = "e => e.getBoundingClientRect().right"
    beyond = names.evaluate_all(
        f"all => {{ const r = {right}; return all.filter(e => r(e) > r(e.closest('td')) + 1).length }}"
    )
    assert beyond == 0, "a name lies under the next column"


def test_a_print_of_an_image_holds_every_picture_and_both_digests_on_every_sheet(page: Page, pages: Path) -> None:
    finding = copied(pages)
    found = printed(page, pages / f"{finding.id}.html")
    assert page.locator("[loading=lazy]").count() == 0
    assert page.evaluate("Array.from(document.images).every(i => i.complete && i.naturalWidth)")
    replicas = sum(one.n + one.invalid for one in finding.replication)
    contents = [sheet.get_contents() for sheet in found.pages]
    drawn = sum(len(re.findall(rb"/[A-Za-z]+\d+ Do", one.get_data())) for one in contents if one is not None)
    assert page.locator("a.replica img").count() == replicas and drawn >= replicas
    for sheet in found.pages:
        text = sheet.extract_text()
        assert finding.sha256 in text and result_of(pages).run["model"]["fingerprint"] in text


def test_a_file_that_was_not_measured_is_not_said_to_be_unread(page: Page, pages: Path) -> None:
    skipped = next(one for one in result_of(pages).findings if one.verdict is Verdict.SKIPPED)
    text = opened(page, pages / f"{skipped.id}.html").locator("body").inner_text()
    assert "single colour" in text and "was not measured" in text
    assert "could not be read" not in text and "not read" not in text
    targets = {one["path"]: one["sha256"] for one in result_of(pages).run["targets"]}
    assert targets[skipped.path] in text


def test_every_term_leads_to_its_entry(page: Page, pages: Path) -> None:
    opened(page, pages / "glossary.html")
    entries = set(page.locator("dt[id]").evaluate_all("all => all.map(e => e.id)"))
    opened(page, pages / "index.html")
    headings = page.locator("#table th").all()
    assert len(headings) == 8
    assert [one.inner_text() for one in headings if not one.locator("a.term").count()] == ["File"]
    for path in (pages / "index.html", pages / f"{copied(pages).id}.html"):
        opened(page, path)
        links = page.locator("a.term").evaluate_all("all => all.map(e => e.getAttribute('href'))")
        assert len(links) > 12
        assert {link.partition("#")[0] for link in links} == {"glossary.html"}
        assert {link.partition("#")[2] for link in links} <= entries
    page.locator("a.term").first.click()
    page.wait_for_selector("dt:target")


@pytest.mark.parametrize("name", ["index.html", "glossary.html", "image", "skipped"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing_serious(page: Page, pages: Path, name: str, scheme: str, width: int) -> None:
    wanted = {"image": Verdict.REPLICATED, "skipped": Verdict.SKIPPED}.get(name)
    if wanted:
        name = next(f"{one.id}.html" for one in result_of(pages).findings if one.verdict is wanted)
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    found = Axe().run(opened(page, pages / name), options=choose_rules(scheme)).response["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert serious == [], [(one["id"], one["nodes"][0]["html"]) for one in serious]


def test_pages_are_the_same_bytes_again(pages: Path, tmp_path: Path) -> None:
    shutil.copytree(pages.parent, tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    write_report(run, result_of(pages))
    for path in sorted(pages.glob("*.html")):
        assert path.read_bytes() == (tmp_path / "run" / "report" / path.name).read_bytes(), path.name

"""Pages as a reviewer opens them: from disk, in a real browser, with hostile names."""

import csv
import io
import json

import pytest
from defusedxml.ElementTree import fromstring
from playwright.sync_api import Browser, Page

from imgaudit.decision.null_bank import NullBank
from imgaudit.report import ReportFormat, render, write_report
from imgaudit.report.answer import answer_question
from imgaudit.report.audit.image_page import pieces_of
from imgaudit.report.wording import CAPTION_LIMIT, WORDING, caption_text
from imgaudit.runs.conclusion import conclude
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.caption_score import CaptionScore
from imgaudit.schema.comparison import REPRODUCED
from imgaudit.schema.findings import AuditResult, Verdict
from imgaudit.schema.records import Skipped
from tests.support.finished_run import HOSTILE


@pytest.fixture(scope="module")
def page(browser: Browser) -> Page:
    return browser.new_page()


def test_a_perfect_memoriser_is_found_from_its_caption(result: AuditResult) -> None:
    verdicts = sorted(finding.verdict.value for finding in result.findings)
    assert verdicts == ["replicated", "replicated", "skipped"]


@pytest.mark.browser
def test_every_page_opens_from_disk_and_runs_nothing_foreign(run: RunFolder, page: Page) -> None:
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: problems.append("a dialog opened"))
    page.on("request", lambda request: problems.append(request.url) if not request.url.startswith("file:") else None)
    pages = sorted((run.path / "report").glob("*.html"))
    assert len(pages) == 6
    for path in pages:
        page.goto(path.as_uri())
        page.wait_for_load_state("load")
        page.evaluate("for (const i of document.images) i.loading = 'eager'")
        page.wait_for_function("() => Array.from(document.images).every(i => i.complete)")
        assert page.evaluate("Array.from(document.images).filter(i => i.naturalWidth === 0).length") == 0
        assert (
            page.evaluate("document.querySelectorAll('img[src=x], script:not([src]), [style]:not(.panes)').length") == 0
        )
    assert problems == []


@pytest.mark.browser
def test_the_index_filters_and_keeps_its_state_in_the_address(run: RunFolder, page: Page) -> None:
    page.goto((run.path / "report" / "index.html").as_uri())
    rows = page.locator("#findings tr")
    assert rows.count() == 3 and page.locator("#shown").inner_text() == "3 of 3 images"
    page.get_by_label("Not measured (1)").check(force=True)
    assert rows.count() == 1
    assert "verdict=skipped" in page.url
    page.reload()
    assert rows.count() == 1
    page.get_by_role("button", name="Clear").click()
    assert rows.count() == 3
    page.get_by_label("Search").fill("ONERROR")
    assert rows.count() == 1
    assert HOSTILE in rows.locator(".name").inner_text()


@pytest.mark.browser
def test_a_page_says_what_a_reviewer_needs(run: RunFolder, result: AuditResult, page: Page) -> None:
    finding = next(f for f in result.findings if f.verdict is Verdict.REPLICATED)
    page.goto((run.path / "report" / f"{finding.id}.html").as_uri())
    text = page.locator("body").inner_text()
    wording = WORDING[finding.verdict]
    parts = [
        wording.label, wording.meaning, wording.limit, finding.sha256, result.protocol.hash, "95 % interval",
        "exchangeable with the controls", "caption: 4 of 4 are copies", "near copy", "seed 0",
    ]  # fmt: skip
    for part in parts:
        assert part in text, part
    assert page.locator(".replicas img").count() == 8
    assert page.locator("img.chart").count() == 2


def test_what_no_encoder_read_is_marked() -> None:
    assert pieces_of("a red fox", {}) == [("a red fox", "")]
    assert pieces_of("a red fox", {"clip": 5, "t5": 7, "both": 5}) == [
        ("a red", ""), (" f", "clip, both"), ("ox", "clip, t5, both"),
    ]  # fmt: skip
    assert pieces_of("fox", {"clip": 99, "t5": -1}) == [("fox", "t5")]


def test_a_spreadsheet_runs_nothing_and_has_every_file(result: AuditResult) -> None:
    rows = list(csv.DictReader(io.StringIO(render(result, ReportFormat.CSV))))
    assert len(rows) == result.summary.targets == 3
    for row in rows:
        assert not any(value.startswith(("=", "+", "-", "@")) for value in row.values() if value)
    assert {row["verdict"] for row in rows} == {"replicated", "skipped"}


def test_the_score_under_the_caption_has_columns_and_a_sentence_with_its_limit(
    run: RunFolder, result: AuditResult
) -> None:
    rows = {row["id"]: row for row in csv.DictReader(io.StringIO(render(result, ReportFormat.CSV)))}
    for finding in result.findings:
        found, row = finding.caption_score, rows[finding.id]
        page = (run.path / "report" / f"{finding.id}.html").read_text(encoding="utf-8")
        if not isinstance(found, CaptionScore):
            assert row["caption_score"] == row["caption_score_p_value"] == "" and "With its caption" not in page
            continue
        assert found.controls == 199 and found.p_value == 1 / 200
        assert float(row["caption_score"]) == pytest.approx(found.score, rel=1e-5)
        assert row["caption_score_p_value"] == "0.005"
        sentence = caption_text(finding)
        assert (
            "with 199 controls, each with its own caption" in sentence and "with probability at most 0.005" in sentence
        )
        assert sentence in page and CAPTION_LIMIT in page
    assert sum(isinstance(finding.caption_score, CaptionScore) for finding in result.findings) == 2


def test_a_score_under_the_caption_that_is_not_compared_says_why(result: AuditResult) -> None:
    finding = next(f for f in result.findings if isinstance(f.caption_score, CaptionScore))
    differ = Skipped(skipped="captions of targets and controls differ without the model")
    kept = finding.caption_score.model_copy(update={"p_value": differ})  # type: ignore[union-attr]
    sentence = caption_text(finding.model_copy(update={"caption_score": kept}))
    assert sentence.endswith(
        "is not compared with the controls': captions of targets and controls differ without the model."
    )
    no_caption = Skipped(skipped="no caption was given")
    assert caption_text(finding.model_copy(update={"caption_score": no_caption})) == ""
    changed = result.model_copy(update={"findings": [finding.model_copy(update={"caption_score": no_caption})]})
    [row] = csv.DictReader(io.StringIO(render(changed, ReportFormat.CSV)))
    assert row["caption_score"] == "" == row["caption_score_p_value"]


def test_markdown_has_no_markup_from_outside(result: AuditResult) -> None:
    text = render(result, ReportFormat.MARKDOWN)
    assert " <img" not in text and "\\<img src=x" in text
    assert "Not measured: 1" in text


def test_json_is_the_result_and_not_measured_is_said_in_words(result: AuditResult) -> None:
    text = render(result, ReportFormat.JSON)
    assert AuditResult.model_validate_json(text) == result
    skipped = next(f for f in result.findings if f.verdict is Verdict.SKIPPED)
    assert isinstance(skipped.score, Skipped) and "NaN" not in text and "Infinity" not in text
    with pytest.raises(ValueError, match="folder of pages"):
        render(result, ReportFormat.HTML)


def test_rendering_twice_gives_the_same_bytes(run: RunFolder, result: AuditResult) -> None:
    def contents() -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in sorted((run.path / "report").rglob("*")) if p.is_file()}

    first = contents()
    write_report(run, conclude(run))
    assert contents() == first
    assert NullBank.read(run.calibration_path).controls


def test_csv_columns_hold_numbers_or_nothing(result: AuditResult) -> None:
    texts = {"id", "file", "sha256", "verdict", "rung", "group", "part_rung", "reason", "alarms"}
    for row in csv.DictReader(io.StringIO(render(result, ReportFormat.CSV))):
        for key in row.keys() - texts:
            assert row[key] == "" or float(row[key]) is not None


def test_markdown_lists_what_was_reproduced_first(result: AuditResult) -> None:
    lines = render(result, ReportFormat.MARKDOWN).splitlines()
    answer = answer_question(result.summary)
    assert lines[2] == f"**{answer.word}:** {answer.sentence}", "the answer comes first"
    order = [verdict.value for verdict in Verdict]
    shown = [order.index(line.split(" | ")[0][2:]) for line in lines if line[2:].split(" | ")[0] in order]
    assert len(shown) == len(result.findings) and shown == sorted(shown)


def test_sarif_has_a_rule_per_verdict_and_a_result_per_file(result: AuditResult) -> None:
    """The values that the schema allows are listed here; the whole schema is not at hand offline."""
    read = json.loads(render(result, ReportFormat.SARIF, {Verdict.REPLICATED, Verdict.SKIPPED}))
    [run] = read["runs"]
    assert read["version"] == "2.1.0" and len(run["results"]) == len(run["artifacts"]) == len(result.findings)
    for found, finding in zip(run["results"], result.findings, strict=True):
        assert run["tool"]["driver"]["rules"][found["ruleIndex"]]["id"] == found["ruleId"] == finding.verdict.value
        assert found["kind"] in {"pass", "open", "fail"} and found["level"] in {"none", "warning", "error"}
        assert (found["kind"] == "fail") == (found["level"] != "none"), "a level belongs to failures alone"
        failing = finding.verdict in {Verdict.REPLICATED, Verdict.SKIPPED}
        assert (found["level"] == "error") == failing
        [place] = found["locations"]
        uri = place["physicalLocation"]["artifactLocation"]["uri"]
        assert not set(uri) & set(' <>\\"') and uri.isascii()


def test_junit_never_passes_what_is_undecided(result: AuditResult) -> None:
    root = fromstring(render(result, ReportFormat.JUNIT))
    cases = list(root.iter("testcase"))
    assert [root.get("tests"), root.get("errors")] == [str(len(result.findings)), "0"]
    for case, finding in zip(cases, result.findings, strict=True):
        kinds = {child.tag for child in case}
        undecided = finding.verdict in (Verdict.INCONCLUSIVE, Verdict.SKIPPED)
        assert kinds == ({"failure"} if finding.verdict in REPRODUCED else {"skipped"} if undecided else set())

"""The test of a set in words: one number with its meaning wherever a result is read, and the rest on the page."""

import html
import json
import re

import pytest
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.cli.terminal import WIDTH, print_result
from imgaudit.io.writing import read_json, write_json
from imgaudit.report.audit.html import write_html
from imgaudit.report.formats import render_markdown
from imgaudit.report.review.context import review_context
from imgaudit.report.set_level import SET_LIMIT, SET_POINTER, set_level_details, set_level_text
from imgaudit.runs.evidence import write_evidence
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.verification import verify_run
from imgaudit.schema.findings import AuditResult, Summary
from imgaudit.schema.records import Skipped
from imgaudit.schema.set_level import SetLevel
from tests.support.wrapping import unwrap

FOUND = SetLevel(
    p_value=0.0123, works=24, left_out=2, controls=240, ahead={"score": 0.51, "caption": 0.64},
    permutations=9_999, seed=42,
)  # fmt: skip


def said(summary: Summary, value: SetLevel | Skipped | None) -> str:
    return set_level_text(summary.model_copy(update={"set_level": value}))


def counted(summary: Summary, **changes: object) -> str:
    return set_level_details(summary.model_copy(update={"set_level": FOUND.model_copy(update=changes)}))


def test_a_set_is_told_with_its_number_and_what_that_means(result: AuditResult) -> None:
    assert said(result.summary, FOUND) == (
        "As a set, these 24 works score higher than the 240 controls: by chance alone they would rank so high with "
        "probability at most 0.0123. The cause may be training, but also another style, origin or way of writing "
        "captions; no verdict rests on it."
    )
    assert said(result.summary, FOUND.model_copy(update={"p_value": 0.2})) == (
        "As a set, these 24 works do not clearly score higher than the 240 controls: by chance alone they would rank "
        "so high with probability at most 0.2. That does not show that they were not used; no verdict rests on it."
    )


def test_the_page_says_how_a_set_was_counted(result: AuditResult) -> None:
    text = counted(result.summary)
    for part in (
        "p = 0.0123, from 9,999 permutations with seed 42", "51% by their scores, 64% by their scores under captions",
        "2 more were", "the higher of both mean ranks", "near copies and series counted once",
    ):  # fmt: skip
        assert part in text
    alone = counted(result.summary, ahead={"score": 0.4}, left_out=1)
    assert "their mean rank counts" in alone and "captions;" not in alone and "1 more was" in alone
    assert "more was" not in counted(result.summary, left_out=0)


def test_what_was_not_asked_is_said_with_the_reason_and_older_reports_say_nothing(result: AuditResult) -> None:
    reason = Skipped(skipped="4 works are too few: a set has 5 or more")
    assert said(result.summary, reason) == f"The works were not compared as a set: {reason.skipped}."
    assert said(result.summary, None) == ""


def test_page_terminal_and_markdown_say_the_same_and_the_page_more(
    result: AuditResult, folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    """A reason from a stranger's file is text on a page, and nothing else."""
    for value in (FOUND, Skipped(skipped="<b>no\u202e</b>")):
        summary = result.summary.model_copy(update={"set_level": value})
        changed = result.model_copy(update={"summary": summary})
        text = set_level_text(summary)
        print_result(changed)
        shown = unwrap(capsys.readouterr().out)
        assert text in shown or isinstance(value, Skipped)
        assert len(f"{text} {SET_POINTER}") < 6 * WIDTH, "a sentence or two"
        assert "\u202e" not in shown
        markdown = render_markdown(changed)
        assert "as a set" in markdown.lower() and "<b>" not in markdown
        assert isinstance(value, Skipped) or (SET_POINTER in shown and "The works as a set" in markdown)
        write_html(folder, changed, folder.path / "report", review_context(folder))
        page = (folder.path / "report" / "index.html").read_text(encoding="utf-8")
        [section] = re.findall(r'<section aria-labelledby="as-set">.*?</section>', page, re.DOTALL)
        assert "<b>" not in section and "\u202e" not in section
        assert isinstance(value, Skipped) or ("p = 0.0123" in section and html.escape(SET_LIMIT) in section)
    assert '<h2 id="as-set">' in page
    older = result.model_copy(update={"summary": summary.model_copy(update={"set_level": None})})
    assert "as a set" not in render_markdown(older).lower()


def test_a_number_that_was_edited_is_found_even_with_new_evidence(folder: RunFolder) -> None:
    content = read_json(folder.report_path)
    assert content["summary"]["set_level"]["skipped"], "the finished run has few works"
    content["summary"]["set_level"] = json.loads(FOUND.model_dump_json())
    write_json(folder.report_path, content)
    write_evidence(folder)
    assert any("the counts in report.json do not follow" in one for one in verify_run(folder).problems)
    content["summary"]["set_level"]["p_value"] = 7.0
    write_json(folder.report_path, content)
    refused = CliRunner().invoke(app, ["report", str(folder.path)])
    assert refused.exit_code != 0 or "7.0" not in refused.output

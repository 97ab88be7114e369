"""The test of a set in words: one paragraph and one number, with its limits, wherever a result is read."""

import json
import re

import pytest
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.cli.terminal import print_result
from imgaudit.io.writing import read_json, write_json
from imgaudit.report.audit.html import write_html
from imgaudit.report.formats import render_markdown
from imgaudit.report.review.context import review_context
from imgaudit.report.set_level import SET_LIMIT, set_level_text
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


def test_a_set_is_told_with_its_number_what_it_rests_on_and_its_limits(result: AuditResult) -> None:
    text = said(result.summary, FOUND)
    assert text.startswith("p = 0.0123: 24 works, near copies and series counted once")
    for number in (
        "240 controls",
        "9,999 permutations",
        "seed 42",
        "64% by their scores under captions",
        "2 more were",
    ):
        assert number in text
    assert text.endswith(SET_LIMIT) and "Zhang et al." in text and "no verdict rests on it" in text
    alone = said(result.summary, FOUND.model_copy(update={"ahead": {"score": 0.4}, "left_out": 1}))
    assert "their mean rank counts" in alone and "captions;" not in alone and "1 more was" in alone
    assert "more was" not in said(result.summary, FOUND.model_copy(update={"left_out": 0}))


def test_what_was_not_asked_is_said_with_the_reason_and_older_reports_say_nothing(result: AuditResult) -> None:
    reason = Skipped(skipped="4 works are too few: a set has 5 or more")
    assert said(result.summary, reason) == f"The works were not compared as a set: {reason.skipped}."
    assert said(result.summary, None) == ""


def test_page_terminal_and_markdown_say_the_same(
    result: AuditResult, folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    """A reason from a stranger's file is text on a page, and nothing else."""
    for value in (FOUND, Skipped(skipped="<b>no\u202e</b>")):
        summary = result.summary.model_copy(update={"set_level": value})
        changed = result.model_copy(update={"summary": summary})
        text = set_level_text(summary)
        print_result(changed)
        shown = unwrap(capsys.readouterr().out)
        assert isinstance(value, Skipped) or text in shown
        assert "\u202e" not in shown
        markdown = render_markdown(changed)
        assert "- As a set: " in markdown and "<b>" not in markdown
        write_html(folder, changed, folder.path / "report", review_context(folder))
        page = (folder.path / "report" / "index.html").read_text(encoding="utf-8")
        [section] = re.findall(r'<section aria-labelledby="as-set">.*?</section>', page, re.DOTALL)
        assert "<b>" not in section and "\u202e" not in section
        assert isinstance(value, Skipped) or "p = 0.0123" in section
    assert '<h2 id="as-set">' in page
    older = result.model_copy(update={"summary": summary.model_copy(update={"set_level": None})})
    assert "As a set" not in render_markdown(older)


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

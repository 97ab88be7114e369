"""The table that a notebook shows of an audit's result."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from imgaudit.benchmark.reports.run import make_run
from imgaudit.schema.findings import AuditResult, Verdict
from imgaudit.schema.result_table import MOST_ROWS, result_table_html

HOSTILE = "<script>alert(1)\u202e.png"


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> AuditResult:
    return make_run(tmp_path_factory.mktemp("run") / "run", 50, side=8, seed=3)


def renamed(result: AuditResult, path: str) -> AuditResult:
    return result.model_copy(update={"findings": [one.model_copy(update={"path": path}) for one in result.findings]})


def test_a_hostile_file_name_is_text(result: AuditResult) -> None:
    html = renamed(result, f"/home/ann/{HOSTILE}")._repr_html_()
    assert "<script" not in html and "&lt;script&gt;alert(1)" in html
    assert "\u202e" not in html and "\\u202e" in html
    assert "/home/ann" not in html


def test_every_rate_has_its_count_and_interval(result: AuditResult) -> None:
    html = result_table_html(result)
    for finding in result.findings:
        for one in finding.replication:
            assert (
                f"{one.rung.value}: {one.hits} of {one.n} ({one.rate:.1%}, {100 * one.confidence:g} % interval" in html
            )
            assert f"interval {one.low:.1%} to {one.high:.1%})" in html
    counts = result.summary.counts
    assert all(f"{count} {verdict.label.lower()}" in html for verdict, count in counts.items() if count)


def test_a_skipped_image_says_why(result: AuditResult) -> None:
    skipped = [one for one in result.findings if one.verdict is Verdict.SKIPPED]
    assert skipped
    html = result_table_html(result)
    assert all(one.reason.replace("'", "&#x27;") in html for one in skipped)
    assert html.count("<strong>Not measured</strong>") == len(skipped)


def test_a_long_result_is_cut_after_the_copies(result: AuditResult) -> None:
    findings = result.findings * 10
    html = result_table_html(result.model_copy(update={"findings": findings}))
    assert html.count("<tr>") == MOST_ROWS + 1
    assert f"{len(findings) - MOST_ROWS} more images are in report.json" in html
    assert html.count(Verdict.REPLICATED.label) == sum(one.verdict is Verdict.REPLICATED for one in findings)


@pytest.mark.browser
@pytest.mark.parametrize("colours", ["background:#fff;color:#111", "background:#111;color:#ddd"], ids=["light", "dark"])
def test_the_table_takes_the_colours_of_the_notebook(
    result: AuditResult, browser: Browser, tmp_path: Path, colours: str
) -> None:
    path = tmp_path / "notebook.html"
    path.write_text(f'<!doctype html><meta charset="utf-8"><body style="{colours}">{result_table_html(result)}')
    page = browser.new_page()
    page.goto(path.as_uri())
    for place in ("td", "th", "caption"):
        colour = page.evaluate(f"getComputedStyle(document.querySelector('{place}')).color")
        assert colour == page.evaluate("getComputedStyle(document.body).color")
    page.close()

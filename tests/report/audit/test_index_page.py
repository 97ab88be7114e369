"""The index of a report as a reviewer uses it: from disk, in a real browser, with 1, 50 and 10,000 images."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from imgaudit.benchmark.reports.run import make_run
from imgaudit.report import write_report
from imgaudit.report.page_data import ROWS, data_script
from imgaudit.report.wording import controls_used_text
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.findings import AuditResult, Verdict
from imgaudit.schema.records import Skipped
from imgaudit.statistics import clopper_pearson
from tests.support.index_page import choose, opened, rendered, shown

pytestmark = pytest.mark.browser


def result_of(index: Path) -> AuditResult:
    return AuditResult.model_validate_json((index.parent.parent / "report.json").read_bytes())


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of 10,000 images: those of 50 again and again under other names, without their pictures."""
    index = rendered(tmp_path_factory.mktemp("many") / "run", 50)
    data = index.parent / "data" / "images-0001.js"
    rows = json.loads(data.read_text().removeprefix(ROWS[0]).removesuffix(ROWS[1]))
    copies = [
        row | {"name": f"{number:05d} {row['name']}", "target": False, "best": False,
               "score": None if row["score"] is None else row["score"] + number / 1e6}
        for number, row in enumerate(rows * 200)
    ]  # fmt: skip
    data.write_text(data_script(ROWS, copies))
    return index


def column(page: Page, place: int) -> list[str]:
    return page.locator(f"#findings td:nth-child({place})").all_inner_texts()


def test_one_image_is_a_whole_report(page: Page, tmp_path: Path) -> None:
    opened(page, rendered(tmp_path / "run", 1))
    assert shown(page) == "1 of 1 images"
    assert page.locator("#findings tr").count() == 1
    assert not page.locator(".pages").is_visible()
    assert page.locator("#findings img").evaluate_all("all => all.every(i => i.complete && i.naturalWidth)")


def test_counts_stand_with_the_controls_what_was_not_tested_and_the_chart(page: Page, fifty: Path) -> None:
    result = result_of(fifty)
    text = opened(page, fifty).locator("main").inner_text()
    for count in filter(None, result.summary.counts.values()):
        assert str(count) in page.locator(".counts").inner_text()
    assert not isinstance(result.summary.forcing, Skipped)
    rate = clopper_pearson(result.summary.forcing.called, result.summary.forcing.n)
    parts = [
        f"{result.summary.forcing.n} controls were kept out of the comparison",
        f"{rate.low:.1%} to {rate.high:.1%}, 95 % interval",
        "What was not examined", "prompts found by a search", "Thresholds", "autoencoder renders it, exceeds",
        "1 of 50 files was not measured", controls_used_text(result), "2026-01-01 00:00 UTC",
    ]  # fmt: skip
    for part in parts:
        assert part in text, part
    assert page.locator("img.chart").evaluate("image => image.naturalWidth > 0")


def test_filters_work_alone_and_together(page: Page, fifty: Path) -> None:
    result = result_of(fifty)
    counts = {verdict.value: count for verdict, count in result.summary.counts.items()}
    opened(page, fifty)
    for verdict in ("replicated", "skipped"):
        page.locator(f'[name="verdict"][value="{verdict}"]').check(force=True)
    assert shown(page) == f"{counts['replicated'] + counts['skipped']} of 50 images"
    page.get_by_role("button", name="Clear").click()
    assert shown(page) == "50 of 50 images"
    choose(page, "rung", "caption")
    assert shown(page) == f"{counts['replicated']} of 50 images"
    choose(page, "rung", "")
    with_alarms = sum(bool(finding.alarms) for finding in result.findings)
    for value, count in (("any", with_alarms), ("none", 50 - with_alarms), ("cut_caption", 1)):
        choose(page, "alarm", value)
        assert shown(page) == f"{count} of 50 images", value
    choose(page, "alarm", "")
    for name, bound, attribute, sign in (
        ("from", 0.1, "score", 1),
        ("to", 0.1, "score", -1),
        ("p", 0.05, "p_value", -1),
    ):
        page.fill(f'[name="{name}"]', str(bound))
        values = [getattr(finding, attribute) for finding in result.findings]
        measured = [value for value in values if not isinstance(value, Skipped)]
        assert shown(page) == f"{sum(sign * value >= sign * bound for value in measured)} of 50 images", name
        page.fill(f'[name="{name}"]', "")
    page.fill('[name="q"]', "0.05")
    assert int(shown(page).split()[0]) == sum(
        not isinstance(one.q_value, Skipped) and one.q_value <= 0.05 for one in result.findings
    )


def test_words_are_searched_in_file_texts_and_reason(page: Page, fifty: Path) -> None:
    opened(page, fifty)
    for words, count in (("winter-road", 3), ("WINTER woodcut", 1), ("truncated", 1), ("no such thing", 0)):
        page.get_by_label("Search").fill(words)
        assert shown(page) == f"{count} of 50 images", words


@pytest.mark.parametrize(("heading", "place"), [("Best similarity", 5), ("Score", 6), ("p", 7), ("Deciding q", 8)])
def test_every_number_sorts_and_what_was_not_measured_stands_last(
    page: Page, fifty: Path, heading: str, place: int
) -> None:
    opened(page, fifty)
    button = page.locator("thead").get_by_role("button", name=heading, exact=True)
    for direction in ("ascending", "descending"):
        button.click()
        assert page.locator(f'th[aria-sort="{direction}"]').inner_text().startswith(heading)
        values = column(page, place)
        numbers = [float(value) for value in values if value != "–"]
        assert len(numbers) >= 45 and values[len(numbers) :] == ["–"] * (50 - len(numbers))
        assert numbers == sorted(numbers, reverse=direction == "descending")
    assert page.locator("th[aria-sort]").count() == 1


def test_files_verdicts_and_rates_sort(page: Page, fifty: Path) -> None:
    opened(page, fifty)
    page.locator("thead").get_by_role("button", name="File").click()
    names = [name.lower() for name in page.locator("#findings .name").all_inner_texts()]
    assert names == sorted(names)
    page.locator("thead").get_by_role("button", name="Verdict").click()
    page.locator("thead").get_by_role("button", name="Verdict").click()
    assert "Not measured" in column(page, 3)[0]
    choose(page, "sort", "rate")
    choose(page, "order", "down")
    assert "12 of 12" in column(page, 4)[0] or "11 of 12" in column(page, 4)[0]


def test_the_address_holds_the_state_over_reload_and_back(page: Page, fifty: Path) -> None:
    opened(page, fifty)
    choose(page, "sort", "score")
    choose(page, "order", "down")
    page.locator('[name="verdict"][value="not_reproduced"]').check(force=True)
    before, names = shown(page), page.locator("#findings .name").all_inner_texts()
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert shown(page) == before and page.locator("#findings .name").all_inner_texts() == names
    page.locator("#findings .name").nth(2).click()
    page.wait_for_load_state("load")
    page.go_back()
    page.wait_for_selector("html[data-ready]")
    assert shown(page) == before and page.locator("#findings .name").all_inner_texts() == names
    page.go_back()
    assert shown(page) == "50 of 50 images"
    page.go_forward()
    assert shown(page) == before


def test_an_address_that_names_what_is_not_there_is_no_error(page: Page, fifty: Path) -> None:
    opened(page, fifty, "#rung=none&sort=%3Cimg%3E&view=x&size=7&page=99&verdict=x&from=abc&order=y")
    assert shown(page).endswith("of 50 images")


def test_the_gallery_shows_small_pictures_of_fixed_size_only(page: Page, fifty: Path) -> None:
    opened(page, fifty)
    choose(page, "view", "gallery")
    assert page.locator("#gallery li").count() == 50 and not page.locator("#table").is_visible()
    pictures = page.locator("#gallery img")
    assert pictures.count() == 98
    assert pictures.evaluate_all(
        "all => all.every(i => i.getAttribute('src').startsWith('thumbs/') && i.width && i.alt)"
    )
    page.evaluate("for (const image of document.images) image.loading = 'eager'")
    page.wait_for_function("() => Array.from(document.images).every(i => i.complete && i.naturalWidth)")
    assert "view=gallery" in page.url


def test_a_csv_of_the_view_that_a_spreadsheet_does_not_run(page: Page, fifty: Path) -> None:
    opened(page, fifty)
    choose(page, "sort", "name")
    page.get_by_label("Search").fill("0000")
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV of this view").click()
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8"))))
    assert len(rows) == int(shown(page).split()[0]) == 10
    assert [row["file"] for row in rows] == page.locator("#findings .name").all_inner_texts()
    for row in rows:
        texts = [row[name] for name in ("file", "verdict", "rung", "copies", "alarms", "review", "reason")]
        assert not any(text.lstrip().startswith(("=", "+", "-", "@")) for text in texts)
    assert {"id", "verdict", "score", "p", "q", "reason", "review"} <= set(rows[0])


def test_a_name_that_is_a_formula_is_quoted_in_the_csv(page: Page, tmp_path: Path) -> None:
    def renamed(result: AuditResult) -> AuditResult:
        names = ("/c/=1+1.png", "/c/\uff0b1.png", "/c/ -1.png")
        pairs = zip(result.findings, names, strict=True)
        return result.model_copy(update={"findings": [one.model_copy(update={"path": name}) for one, name in pairs]})

    opened(page, rendered(tmp_path / "run", 3, renamed))
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV of this view").click()
    text = Path(download.value.path()).read_text(encoding="utf-8")
    assert {row["file"] for row in csv.DictReader(io.StringIO(text))} == {"'=1+1.png", "'\uff0b1.png", "' -1.png"}


def test_decisions_of_this_browser_filter(page: Page, fifty: Path) -> None:
    opened(page, fifty)
    [first, second] = [page.locator("#findings tr").nth(n).get_attribute("data-image-id") for n in (0, 1)]
    page.evaluate("id => window.imgauditDecisions.set(id, {decision: 'accept'})", first)
    page.evaluate("id => window.imgauditDecisions.set(id, {decision: 'dispute'})", second)
    for value, count in (("accept", 1), ("dispute", 1), ("unsure", 0), ("undecided", 48)):
        choose(page, "review", value)
        assert shown(page) == f"{count} of 50 images", value


def test_ten_thousand_images_are_paged_filtered_and_sorted_at_once(page: Page, many: Path) -> None:
    opened(page, many)
    assert shown(page) == "10,000 of 10,000 images"
    assert page.locator("#findings tr").count() == 50
    assert page.locator("#page").inner_text() == "Page 1 of 200"
    assert page.locator("#before").is_disabled()
    first = page.locator("#findings .name").first.inner_text()
    page.locator("#after").click()
    assert page.locator("#page").inner_text() == "Page 2 of 200" and "page=2" in page.url
    assert page.locator("#findings .name").first.inner_text() != first
    page.go_back()
    assert page.locator("#findings .name").first.inner_text() == first
    choose(page, "size", "250")
    assert page.locator("#findings tr").count() == 250
    assert page.locator("#page").inner_text() == "Page 1 of 40"
    opened(page, many, "#size=250&page=40")
    assert page.locator("#findings tr").count() == 250 and page.locator("#after").is_disabled()
    page.evaluate(
        """() => { const field = document.querySelector('[name="sort"]');
        field.value = 'score'; field.dispatchEvent(new Event('change', { bubbles: true }));
        const text = document.querySelector('[name="text"]');
        text.value = 'harbour'; text.dispatchEvent(new Event('input', { bubbles: true })); }"""
    )
    assert shown(page) == "800 of 10,000 images"
    # Only a page of rows is ever made; how long that takes is measured by `imgaudit benchmark report`.
    assert page.locator("#findings tr").count() == 250


def _interrupted(result: AuditResult) -> AuditResult:
    return result.model_copy(update={"findings": result.findings[:7]})


def _only_skipped(result: AuditResult) -> AuditResult:
    findings = [one for one in result.findings if one.verdict is Verdict.SKIPPED]
    counts: dict[Verdict, int] = dict.fromkeys(Verdict, 0) | {Verdict.SKIPPED: len(findings)}
    summary = result.summary.model_copy(update={"targets": len(findings), "counts": counts})
    return result.model_copy(update={"findings": findings, "summary": summary})


def _without_controls(result: AuditResult) -> AuditResult:
    nothing = Skipped(skipped="no controls")
    changes: dict[str, Any] = {"p_value": nothing, "q_value": nothing}
    summary = result.summary.model_copy(update={"controls": 0, "forcing": nothing})
    return result.model_copy(
        update={"findings": [one.model_copy(update=changes) for one in result.findings], "summary": summary}
    )


@pytest.mark.parametrize(
    ("change", "said", "images"),
    [
        (_interrupted, "43 of 50 files have not been measured", 7),
        (_only_skipped, "1 of 1 files was not measured", 1),
        (_without_controls, "None, so there are no p-values", 50),
    ],
)
def test_what_is_missing_is_said(
    page: Page, tmp_path: Path, change: Callable[[AuditResult], AuditResult], said: str, images: int
) -> None:
    def changed(result: AuditResult) -> AuditResult:
        if change is _without_controls:
            RunFolder(tmp_path / "run").calibration_path.unlink()
        return change(result)

    opened(page, rendered(tmp_path / "run", 50, changed))
    assert said in page.locator("main").inner_text()
    assert shown(page) == f"{images} of {images} images"
    if change is not _interrupted:
        assert page.locator("img.chart").count() == 0


def test_deleted_pictures_leave_an_empty_place(page: Page, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    make_run(folder, 3, side=24)
    run = RunFolder(folder)
    result = AuditResult.model_validate_json(run.report_path.read_bytes())
    best = result.findings[0].best_replica
    assert not isinstance(best, Skipped)
    (folder / best.path).unlink()
    write_report(run, result)
    opened(page, folder / "report" / "index.html")
    assert page.locator("#findings .none").count() == 1
    assert page.locator("#findings img").count() == 5

"""The index of a made-up run, opened in a browser."""

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page

from imgaudit.benchmark.reports.run import make_run
from imgaudit.report import write_report
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.findings import AuditResult


def rendered(folder: Path, count: int, change: Callable[[AuditResult], AuditResult] = lambda result: result) -> Path:
    """Render a made-up run, changed before; its index."""
    result = change(make_run(folder, count, side=24, seed=3))
    run = RunFolder(folder)
    run.report_path.write_text(result.model_dump_json(), encoding="utf-8")
    write_report(run, result)
    return folder / "report" / "index.html"


def opened(page: Page, index: Path, fragment: str = "") -> Page:
    page.goto(index.as_uri() + fragment)
    page.wait_for_selector("html[data-ready]")
    return page


def shown(page: Page) -> str:
    return page.locator("#shown").inner_text()


def choose(page: Page, name: str, value: str) -> None:
    page.select_option(f'#filters [name="{name}"]', value)

"""The index of a report in a headless browser: how soon it can be used, and how long a filter and a sort take."""

import shutil
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from imgaudit.schema.records import Record, Skipped

if TYPE_CHECKING:
    from playwright.sync_api import Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
"""Commands that are looked for; else the browser that Playwright brings is tried."""

USE = """([name, event, value]) => {
  const field = document.querySelector(`#filters [name="${name}"]`), before = performance.now();
  field.value = value;
  field.dispatchEvent(new Event(event, { bubbles: true }));
  document.body.offsetHeight;
  return performance.now() - before;
}"""
"""Gives a control another value; the time until the page is laid out again."""

FILTER, SORT = ["text", "input"], ["sort", "change"]
"""Name of a control, and the event by which it tells of another value."""

READY = "performance.getEntriesByType('navigation')[0].domContentLoadedEventStart"
"""Milliseconds until every script of the page has run, the table is there and controls answer."""


class BrowserTimes(Record):
    """Medians in milliseconds."""

    browser: str
    """Name and version."""
    repeats: int
    """Of each."""
    interactive: float
    """From opening the page until its controls answer."""
    filter: float
    """From typing until the table is laid out."""
    sort: float
    """From choosing a column until the table is laid out."""
    foreign_requests: int
    """Requests for anything that is not a file beside the page."""
    messages: int
    """Errors and warnings on the console."""


def measure_browser(index: Path, repeats: int) -> BrowserTimes | Skipped:
    """Open an index from disk and use it; skipped, with the reason, where there is no browser."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ModuleNotFoundError:
        return Skipped(skipped="Playwright is not installed (pip install imgaudit[test])")
    command = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=command, args=["--no-sandbox"])
        except Error as error:
            return Skipped(skipped=f"no browser: {str(error).splitlines()[0]}")
        try:
            return _measure(browser.new_page(), index, repeats, f"Chromium {browser.version}")
        finally:
            browser.close()


def _measure(page: "Page", index: Path, repeats: int, name: str) -> BrowserTimes:
    foreign: list[str] = []
    messages: list[str] = []
    page.on("request", lambda request: None if request.url.startswith("file:") else foreign.append(request.url))
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    opened = []
    for _ in range(repeats):
        page.goto(index.as_uri(), wait_until="load")
        page.wait_for_selector("html[data-ready]")
        opened.append(float(page.evaluate(READY)))
    # Each is another one than before, so that nothing is as it was.
    filters = [page.evaluate(USE, [*FILTER, ("harbour", "quinces")[number % 2]]) for number in range(repeats)]
    page.evaluate(USE, [*FILTER, ""])
    sorts = [page.evaluate(USE, [*SORT, ("score", "name")[number % 2]]) for number in range(repeats)]
    return BrowserTimes(
        browser=name, repeats=repeats, interactive=median(opened), filter=median(filters), sort=median(sorts),
        foreign_requests=len(foreign), messages=len(messages),
    )  # fmt: skip

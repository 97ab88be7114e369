"""The index of a report with 50 images, and a browser's page on which nothing foreign may happen."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.support.index_page import rendered


@pytest.fixture(scope="module")
def fifty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rendered(tmp_path_factory.mktemp("fifty") / "run", 50)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page on which nothing foreign may happen: no request but for files, no message, no dialog."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: problems.append("a dialog opened"))
    page.on(
        "request", lambda request: None if request.url.startswith(("file:", "blob:")) else problems.append(request.url)
    )
    yield page
    context.close()
    assert problems == []

"""The browser is handed a page that only the user can read, and that page leads to the report with its token."""

import http.client
import os
import re
import signal
import stat
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.exceptions import InputError
from imgaudit.report.review import read_reviewed_run
from imgaudit.report.server import Handover, ReviewServer
from imgaudit.runs.folder import RunFolder
from tests.support.review_requests import decide, history

pytestmark = [pytest.mark.enable_socket]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: folder / name)
    return folder


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes; folders below a user's are its own")
def test_only_the_user_can_read_the_page_and_it_is_gone_afterwards(cache: Path) -> None:
    (cache / "imgaudit").mkdir(parents=True, mode=0o777)
    before = os.umask(0)
    try:
        with Handover('http://127.0.0.1:1/#token=a"b') as handover:
            assert stat.S_IMODE(handover.path.stat().st_mode) == 0o600
            assert stat.S_IMODE(handover.path.parent.stat().st_mode) == 0o700
            assert "url=http://127.0.0.1:1/#token=a&quot;b" in handover.path.read_text("utf-8")
            handover.remove()
            assert not list((cache / "imgaudit").iterdir())
    finally:
        os.umask(before)


def test_the_browsers_command_line_has_no_token(pages: RunFolder, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    opened: list[tuple[str, str, int]] = []

    def browse(url: str) -> None:
        content = Path(url.removeprefix("file://")).read_text("utf-8")
        found = re.search(r'url=http://127\.0\.0\.1:(\d+)/report/index\.html#token=[\w-]{40,}"', content)
        assert found
        connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=30)
        connection.request("GET", "/report/index.html")
        opened.append((url, found[0], connection.getresponse().status))
        connection.close()
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("webbrowser.open", browse)
    before = signal.getsignal(signal.SIGTERM)
    done = CliRunner().invoke(app, ["view", str(pages.path)])
    [(url, address, status)] = opened
    token = address.partition("token=")[2].rstrip('"')
    assert done.exit_code == 0 and status == 200 and url.startswith("file://")
    assert token not in url + done.stdout + done.stderr and done.stdout.startswith("http://127.0.0.1:")
    assert "stopped; 0 decisions" in done.stderr and signal.getsignal(signal.SIGTERM) is before
    assert not list((cache / "imgaudit").iterdir())


def test_a_cache_folder_that_cannot_be_written_is_said(pages: RunFolder, cache: Path) -> None:
    cache.touch()
    done = CliRunner().invoke(app, ["view", str(pages.path)])
    assert isinstance(done.exception, InputError) and "give --no-browser" in str(done.exception)


def test_a_page_on_disk_cannot_decide_even_with_the_token(server: ReviewServer) -> None:
    [finding, *_] = read_reviewed_run(server.run.path).images.values()
    answer = decide(server, {"image_id": finding.id}, Origin="null")
    assert answer.status == 403 and "from another site" in answer.json["error"] and history(server) == ()


@pytest.mark.browser
def test_a_browser_that_is_given_the_page_can_decide(server: ReviewServer, browser: Browser) -> None:
    context = browser.new_context()
    context.set_default_timeout(20_000)
    page = context.new_page()
    form = next(path for path in (server.run.path / "report").glob("decide-*.html"))
    address = server.url.replace("index.html", form.name)
    with Handover(address) as handover:
        server.on_token = handover.remove
        page.goto(handover.path.as_uri())
        page.wait_for_url(f"http://127.0.0.1:{server.server_port}/report/{form.name}")
        page.get_by_label("Accept").check()
        page.get_by_label("2: some").check()
        page.get_by_label("Your name").fill("Ann")
        page.get_by_role("button", name="Save decision", exact=True).click()
        expect(page.get_by_role("status")).to_contain_text("Saved")
        assert not handover.path.exists()
        assert server.token not in page.url and page.evaluate("document.referrer") == ""
    context.close()
    assert [one.reviewer for one in history(server)] == ["Ann"]

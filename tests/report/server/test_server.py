"""Pages served to one machine: who may read, who may decide, and what no request gets."""

import http.client
import json
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import pytest
from playwright.sync_api import Browser, Page, expect
from typer.testing import CliRunner

from imgaudit.benchmark.robustness.processes import wait_until
from imgaudit.cli import app
from imgaudit.exceptions import InputError, RunFolderError
from imgaudit.report.pages import page_environment, write_assets
from imgaudit.report.review import DecisionLedger, ReviewDecision, read_decisions_file, read_reviewed_run
from imgaudit.report.review.context import review_context
from imgaudit.report.server import ReviewServer
from imgaudit.report.server.server import LARGEST_BODY
from imgaudit.report.wording import WORDING
from imgaudit.runs.folder import RunFolder
from tests.report.review.test_ledger import fields, folder, reviewed
from tests.report.test_formats import result, run
from tests.support.commands import Commands

__all__ = ["folder", "result", "reviewed", "run"]

pytestmark = [pytest.mark.enable_socket]

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'self'; style-src 'self'; \
img-src 'self' data:; base-uri 'none'; form-action 'none'">
<meta name="imgaudit-run-id" content="{{ review.run_id }}">
<meta name="imgaudit-result-sha256" content="{{ review.result_sha256 }}">
<title>An image</title><link rel="stylesheet" href="assets/style.css">
<link rel="stylesheet" href="assets/decisions.css"></head>
<body><main><h1>An image</h1>{% include "decision_form.html.jinja" %}</main>
<script src="assets/decisions.js"></script></body></html>"""

INDEX = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>All images</title>
<meta name="imgaudit-run-id" content="{{ review.run_id }}">
<meta name="imgaudit-result-sha256" content="{{ review.result_sha256 }}"></head>
<body><p data-decision-status></p><button data-save-decisions>Save decisions.json</button>
{% for one in findings %}<p data-image-id="{{ one.id }}" data-sha256="{{ one.sha256 }}"
data-verdict="{{ one.verdict.value }}"></p>{% endfor %}
<script src="assets/decisions.js"></script></body></html>"""


HOSTS = ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "[::1]:{port}", ""]


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(server: ReviewServer, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
    """One request as it is given: nothing is added but what HTTP needs, and nothing normalised."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
    if body is not None and "Content_Length" not in headers:
        headers["Content_Length"] = str(len(body))
    for name, value in headers.items():
        if value:
            connection.putheader(name.replace("_", "-"), value)
    connection.endheaders(body)
    answer = connection.getresponse()
    found = Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    connection.close()
    return found


def decide(server: ReviewServer, value: Any, **headers: str) -> Answer:
    usual = {
        "Origin": f"http://127.0.0.1:{server.server_port}",
        "Content_Type": "application/json",
        "X_Imgaudit_Token": server.token,
    }
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return ask(server, "POST", "/decisions", body, **(usual | headers))


@pytest.fixture
def pages(folder: RunFolder) -> RunFolder:
    """The run with a page of each kind that has the form or the script."""
    reviewed = read_reviewed_run(folder.path)
    environment = page_environment()
    environment.loader = jinja2.ChoiceLoader([jinja2.DictLoader({"page": PAGE, "index": INDEX}), environment.loader])  # type: ignore[list-item]
    write_assets(folder.path / "report", ["decisions.js", "decisions.css"])
    shared: dict[str, Any] = {"review": review_context(folder), "wording": WORDING}
    for finding in reviewed.images.values():
        page = environment.get_template("page").render(**shared, finding=finding)
        (folder.path / "report" / f"decide-{finding.id}.html").write_text(page)
    index = environment.get_template("index").render(**shared, findings=list(reviewed.images.values()))
    (folder.path / "report" / "all.html").write_text(index)
    return folder


@pytest.fixture
def server(pages: RunFolder) -> Iterator[ReviewServer]:
    with ReviewServer(pages) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join(10)


def history(server: ReviewServer) -> tuple[ReviewDecision, ...]:
    return server.ledger.read().history


# What is served


def test_pages_and_pictures_are_served_with_what_they_may_do(server: ReviewServer) -> None:
    index = ask(server, "GET", "/report/index.html")
    assert index.status == 200 and index.headers["content-type"] == "text/html; charset=utf-8"
    assert "connect-src 'self'" in index.headers["content-security-policy"]
    assert "default-src 'none'" in index.headers["content-security-policy"]
    assert index.headers["x-content-type-options"] == "nosniff" and index.headers["cache-control"] == "no-store"
    assert index.headers["cross-origin-resource-policy"] == "same-origin"
    assert b"Content-Security-Policy" not in index.body and b"<title>" in index.body
    assert server.token.encode() not in index.body
    picture = next(server.run.path.glob("images/*/target.png")).relative_to(server.run.path).as_posix()
    assert ask(server, "GET", f"/{picture}").headers["content-type"] == "image/png"
    assert ask(server, "GET", "/report/assets/decisions.js").headers["content-type"].startswith("text/javascript")
    assert ask(server, "GET", "/report/index.html?x=/../").status == 200
    assert ask(server, "GET", "/").headers["location"] == "/report/index.html"


@pytest.mark.parametrize(
    "path",
    [
        "/manifest.json", "/report.json", "/records.jsonl", "/review/decisions.jsonl", "/report/../manifest.json",
        "/report/%2e%2e/manifest.json", "/report/..%2fmanifest.json", "/images/../report/index.html",
        "/report//index.html", "/report\\index.html", "/report/.lock", "/report/", "/report",
        "/report/index.html/", "/report/index.html%00.png", "/report/./index.html", "/etc/passwd", "/favicon.ico",
        "/report/none.html", "/report/assets", "/images/", "/Report/index.html", "/report/index.html;x",
    ],
)  # fmt: skip
def test_nothing_else_is_served(server: ReviewServer, path: str) -> None:
    answer = ask(server, "GET", path)
    assert answer.status == 404 and answer.headers["content-type"] == "application/json"
    assert b"Traceback" not in answer.body and str(server.run.path).encode() not in answer.body


def test_other_kinds_of_files_and_links_are_not_served(server: ReviewServer, tmp_path: Path) -> None:
    root = server.run.path
    embeds = next(root.glob("images/*/embeds.safetensors")).relative_to(root).as_posix()
    curves = next(root.glob("images/*/curves.json")).relative_to(root).as_posix()
    assert ask(server, "GET", f"/{embeds}").status == ask(server, "GET", f"/{curves}").status == 404
    secret = tmp_path / "secret.html"
    secret.write_text("secret")
    (root / "report" / "out.html").symlink_to(secret)
    (root / "report" / "inside.html").symlink_to(root / "report" / "index.html")
    (root / "report" / "folder").symlink_to(tmp_path)
    for path in ("/report/out.html", "/report/inside.html", "/report/folder/secret.html"):
        assert ask(server, "GET", path).status == 403, path
    os.mkfifo(root / "report" / "pipe.html")
    assert ask(server, "GET", "/report/pipe.html").status == 404


def test_scripts_of_others_are_not_served(server: ReviewServer) -> None:
    script = server.run.path / "report" / "assets" / "decisions.js"
    script.write_text("alert(1)")
    assert ask(server, "GET", "/report/assets/decisions.js").status == 403
    with pytest.raises(RunFolderError, match="not a script of this version"):
        ReviewServer(server.run)


def test_a_run_without_pages_is_refused(folder: RunFolder) -> None:
    (folder.path / "report" / "index.html").unlink()
    with pytest.raises(RunFolderError, match="imgaudit report writes it"):
        ReviewServer(folder)


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "<script>"])
def test_other_methods_are_refused(server: ReviewServer, method: str) -> None:
    answer = ask(server, method, "/report/index.html")
    assert answer.status == 501 and b"script" not in answer.body
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "[::1]:{port}", ""]
)
def test_another_name_for_this_machine_is_refused(server: ReviewServer, host: str) -> None:
    given = host.format(port=server.server_port)
    for answer in (ask(server, "GET", "/report/index.html", Host=given), decide(server, {}, Host=given)):
        assert answer.status == 421 and "use the same port on both ends" in answer.json["error"]
    assert ask(server, "GET", "/report/index.html", Host=f"localhost:{server.server_port}").status == 200


def test_the_server_listens_to_this_machine_alone(server: ReviewServer) -> None:
    assert server.server_address[0] == "127.0.0.1" and server.url.startswith("http://127.0.0.1:")
    assert server.url.endswith(f"/report/index.html#token={server.token}") and len(server.token) >= 40


# Deciding


def test_a_decision_is_saved_once_and_read_again(server: ReviewServer) -> None:
    reviewed = server.reviewed()
    first = decide(server, fields(reviewed))
    assert first.status == 201 and first.json["saved"]["source"] == "view"
    assert decide(server, fields(reviewed)).status == 200 and len(history(server)) == 1
    assert decide(server, fields(reviewed, decision="dispute", made="2026-05-06T00:00:00Z")).status == 201
    answer = ask(server, "GET", "/decisions", X_Imgaudit_Token=server.token)
    assert answer.status == 200 and [one["decision"] for one in answer.json["decisions"]] == ["dispute"]
    assert (answer.json["run_id"], answer.json["damaged"]) == (reviewed.run_id, 0)
    assert len(history(server)) == 2


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X_Imgaudit_Token": ""}, 403),
        ({"X_Imgaudit_Token": "x"}, 403),
        ({"X_Imgaudit_Token": "\xff"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "https://127.0.0.1"}, 403),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content_Length": "-1"}, 411),
        ({"Content_Length": "9" * 30}, 411),
        ({"Content_Length": str(LARGEST_BODY + 1)}, 413),
        ({"Transfer_Encoding": "chunked"}, 411),
    ],
)
def test_whoever_may_not_decide_changes_nothing(server: ReviewServer, headers: dict[str, str], status: int) -> None:
    answer = decide(server, fields(server.reviewed()), **headers)
    assert answer.status == status and answer.json["error"]
    assert history(server) == () and not (server.run.path / "review").exists()


def test_decisions_are_read_with_the_token_only(server: ReviewServer) -> None:
    decide(server, fields(server.reviewed()))
    for headers in ({}, {"X_Imgaudit_Token": "x"}, {"X_Imgaudit_Token": server.token, "Origin": "http://evil.example"}):
        answer = ask(server, "GET", "/decisions", **headers)
        assert answer.status == 403 and b"Ann" not in answer.body
    assert decide(server, fields(server.reviewed()), Origin=f"http://localhost:{server.server_port}").status == 200


@pytest.mark.parametrize("body", [b"", b"[", b"[" * 60_000, b"7", b"{}", b'{"decision": "accept"}', b"\xff\xff"])
def test_what_is_no_decision_is_refused_in_words(server: ReviewServer, body: bytes) -> None:
    answer = decide(server, body)
    assert answer.status in (400, 422) and answer.json["error"] and history(server) == ()


def test_decisions_on_other_runs_images_and_results_are_refused(server: ReviewServer) -> None:
    reviewed = server.reviewed()
    for changes in (
        {"run_id": "0" * 16},
        {"image_id": "0" * 16, "sha256": "0" * 64},
        {"result_sha256": "0" * 64},
        {"machine_verdict": "skipped"},
        {"comment": "x" * 5000},
    ):
        answer = decide(server, fields(reviewed, **changes))
        assert answer.status == 422 and answer.json["error"], changes
    # The run is decided again while its pages are open.
    report = server.run.report_path
    report.write_text(report.read_text() + "\n")
    assert "was decided again since" in decide(server, fields(reviewed)).json["error"]
    assert decide(server, fields(server.reviewed())).status == 201


def test_many_at_once_lose_nothing(server: ReviewServer) -> None:
    reviewed = server.reviewed()
    values = [fields(reviewed, number % 2, reviewer=f"Reviewer {number}") for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda value: decide(server, value).status, values * 2))
    assert statuses.count(201) == 24 and statuses.count(200) == 24
    assert len(history(server)) == 24 and not server.ledger.read().damaged


def test_a_disk_that_fails_is_said(server: ReviewServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(DecisionLedger, "append", full)
    answer = decide(server, fields(server.reviewed()))
    assert answer.status == 500 and "No space left on device" in answer.json["error"]


def test_from_the_terminal_until_it_is_stopped(pages: RunFolder, run_imgaudit: Commands) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        process, place = run_imgaudit.start("view", pages.path, "--no-browser")
        printed = place / "stdout"
        assert wait_until(lambda printed=printed: printed.is_file() and "\n" in printed.read_text(), process)  # type: ignore[misc]
        address, _, fragment = printed.read_text().strip().partition("#")
        assert address.startswith("http://127.0.0.1:") and fragment.startswith("token=")
        connection = http.client.HTTPConnection("127.0.0.1", int(address.split(":")[2].split("/")[0]), timeout=30)
        connection.request("GET", "/report/index.html")
        assert connection.getresponse().status == 200
        connection.close()
        process.send(number)
        ended = process.wait(timeout=60)
        assert ended.code == 0 and "stopped; 0 decisions were saved" in ended.stderr, ended.stderr
        assert not ended.traceback


def test_a_port_that_is_taken_is_said(server: ReviewServer) -> None:
    taken = CliRunner().invoke(app, ["view", str(server.run.path), "--no-browser", "--port", str(server.server_port)])
    assert isinstance(taken.exception, InputError) and "choose another --port" in str(taken.exception)


def test_the_browser_is_opened_on_pages_that_are_there(pages: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[str, int]] = []

    def browse(url: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", int(url.split(":")[2].split("/")[0]), timeout=30)
        connection.request("GET", "/report/index.html")
        opened.append((url, connection.getresponse().status))
        connection.close()
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("webbrowser.open", browse)
    before = signal.getsignal(signal.SIGTERM)
    done = CliRunner().invoke(app, ["view", str(pages.path)])
    assert done.exit_code == 0 and opened == [(done.stdout.strip(), 200)]
    assert "stopped; 0 decisions" in done.stderr and signal.getsignal(signal.SIGTERM) is before


# In the browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a new user; whatever its console says fails the test."""
    context = browser.new_context()
    context.set_default_timeout(10_000)
    made = context.new_page()
    problems: list[str] = []
    made.on("pageerror", lambda error: problems.append(str(error)))
    made.on("console", lambda message: problems.append(message.text) if "Content Security" in message.text else None)
    yield made
    context.close()
    assert problems == []


def fill(
    page: Page, choice: str = "Dispute", level: str = "2: some", name: str = "Ann", comment: str = "<b>Frame"
) -> None:
    page.get_by_label(choice).check()
    page.get_by_label(level).check()
    page.get_by_label("Comment").fill(comment)
    page.get_by_label("Your name").fill(name)


def page_of(pages: RunFolder, number: int = 0) -> Path:
    return sorted((pages.path / "report").glob("decide-[0-9a-f]*.html"))[number]


@pytest.mark.browser
def test_from_disk_drafts_are_kept_and_saved_as_a_file(pages: RunFolder, page: Page, tmp_path: Path) -> None:
    reviewed = read_reviewed_run(pages.path)
    page.goto(page_of(pages).as_uri())
    status = page.get_by_role("status")
    page.get_by_label("Accept").check()
    page.get_by_role("button", name="Save decision", exact=True).click()
    expect(status).to_contain_text("give your name")
    fill(page)
    page.get_by_role("button", name="Save decision", exact=True).click()
    expect(status).to_contain_text("Kept in this browser")
    page.reload()
    assert page.get_by_label("Dispute").is_checked() and page.get_by_label("2: some").is_checked()
    assert page.get_by_label("Comment").input_value() == "<b>Frame"
    # The name is remembered; a decision without a choice is not in the file.
    page.goto(page_of(pages, 1).as_uri())
    assert page.get_by_label("Your name").input_value() == "Ann"
    page.get_by_label("Comment").fill("later")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save decisions.json").click()
    expect(status).to_have_text("1 decision in decisions.json; left out: 1 without a decision or a name.")
    assert download.value.suggested_filename == "decisions.json"
    download.value.save_as(tmp_path / "decisions.json")
    [one] = read_decisions_file(tmp_path / "decisions.json", reviewed)
    assert (one.decision.value, one.replication_level, one.comment, one.reviewer) == ("dispute", 2, "<b>Frame", "Ann")
    assert one.machine_verdict is reviewed.images[one.image_id].verdict


@pytest.mark.browser
def test_other_scripts_can_decide_and_are_told_of_changes(pages: RunFolder, page: Page) -> None:
    reviewed = read_reviewed_run(pages.path)
    first, second = sorted(reviewed.images)
    page.goto((pages.path / "report" / "all.html").as_uri())
    assert page.evaluate("name => imgauditDecisions.get(name)", first) is None
    set_fields = "([name, fields]) => void imgauditDecisions.set(name, fields)"
    page.evaluate("window.told = 0; void imgauditDecisions.onChange(() => { window.told += 1; })")
    page.evaluate(set_fields, [first, {"decision": "accept", "reviewer": "Ann"}])
    page.evaluate(set_fields, [first, {"replication_level": 5}])
    page.evaluate(set_fields, [second, {"decision": "nonsense", "replication_level": 9, "sha256": "x"}])
    assert page.evaluate("window.told") == 3
    found = page.evaluate("imgauditDecisions.all()")
    assert found.keys() == {first, second}
    assert (found[first]["decision"], found[first]["replication_level"], found[first]["saved"]) == ("accept", 5, False)
    assert (found[second]["decision"], found[second]["replication_level"]) == (None, None)
    assert found[second]["sha256"] == reviewed.images[second].sha256 and found[second]["reviewer"] == "Ann"
    # The image's own page shows what was decided on the index, and the other way round.
    page.goto((pages.path / "report" / f"decide-{first}.html").as_uri())
    assert page.get_by_label("Accept").is_checked() and page.get_by_label("5: all").is_checked()
    with pytest.raises(Exception, match="no image"):
        page.evaluate(set_fields, ["0" * 16, {"decision": "accept"}])


@pytest.mark.browser
@pytest.mark.parametrize(
    "stored", ["[", "7", '{"x": 1}', '{"__proto__": {"decision": "accept"}}', '{"0123456789abcdef": {"run_id": [1]}}']
)
def test_whatever_lies_in_the_storage_breaks_nothing(pages: RunFolder, page: Page, stored: str) -> None:
    run_id = read_reviewed_run(pages.path).run_id
    page.goto(page_of(pages).as_uri())
    page.evaluate("([key, text]) => localStorage.setItem(key, text)", [f"imgaudit-decisions:{run_id}", stored])
    page.reload()
    assert page.evaluate("imgauditDecisions.all()") == {}
    fill(page)
    page.get_by_role("button", name="Save decision", exact=True).click()
    assert len(page.evaluate("imgauditDecisions.all()")) == 1


@pytest.mark.browser
@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("Storage.prototype.setItem = () => { throw new DOMException('', 'QuotaExceededError'); }", "storage is full"),
        (
            "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('', 'SecurityError'); } })",
            "This browser keeps nothing",
        ),
    ],
)
def test_a_browser_that_keeps_nothing_says_so(pages: RunFolder, page: Page, broken: str, said: str) -> None:
    page.add_init_script(broken)
    page.goto(page_of(pages).as_uri())
    fill(page)
    page.get_by_role("button", name="Save decision", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text(said)
    # What is on the page can still be saved.
    with page.expect_download() as download:
        page.get_by_role("button", name="Save decisions.json").click()
    content = json.loads(Path(download.value.path()).read_text())
    assert [one["comment"] for one in content["decisions"]] == ["<b>Frame"]


@pytest.mark.browser
def test_served_pages_save_in_the_run(server: ReviewServer, page: Page) -> None:
    report = server.url.partition("/report/")[0] + "/report/"
    page.goto(f"{report}{page_of(server.run).name}#verdict=partial&token={server.token}")
    assert page.url.endswith("#verdict=partial")
    fill(page)
    page.get_by_role("button", name="Save decision", exact=True).click()
    status = page.get_by_role("status")
    expect(status).to_have_text("Saved in the run.")
    expect(page.locator("#decision-saved")).to_contain_text("Ann disputes the verdict, level 2")
    expect(page.locator("#decision-saved q")).to_have_text("<b>Frame")
    [one] = history(server)
    assert (one.decision.value, one.source.value, one.comment) == ("dispute", "view", "<b>Frame")
    page.get_by_role("button", name="Save decision", exact=True).click()
    expect(status).to_have_text("Saved in the run.")
    assert len(history(server)) == 1
    # Another page of the same tab has the token; so has a new tab, which asks.
    page.goto(f"{report}all.html")
    page.wait_for_function("() => Object.keys(imgauditDecisions.all()).length === 1")
    other = page.context.new_page()
    other.goto(f"{report}{page_of(server.run).name}")
    expect(other.locator("#decision-saved")).to_contain_text("Ann disputes the verdict")
    assert page.evaluate("name => imgauditDecisions.savedOf(name).length", one.image_id) == 1


@pytest.mark.browser
def test_what_is_not_saved_is_said_and_can_be_sent_later(server: ReviewServer, page: Page) -> None:
    address = server.url.partition("/report/")[0] + f"/report/{page_of(server.run).name}"
    page.goto(address)
    fill(page)
    status, save = page.get_by_role("status"), page.get_by_role("button", name="Save decision", exact=True)
    save.click()
    expect(status).to_contain_text("Not saved in the run: open the address that imgaudit view printed")
    page.goto(f"{address}#token=wrong")
    page.reload()
    save.click()
    expect(status).to_contain_text("the token is missing or of another start")
    page.route("**/decisions", lambda route: route.abort())
    save.click()
    expect(status).to_contain_text("the server does not answer")
    page.unroute("**/decisions")
    assert history(server) == ()
    page.goto(f"{address}#token={server.token}")
    page.reload()
    page.get_by_role("button", name="Save all drafts in the run").click()
    expect(status).to_have_text("Saved in the run.")
    expect(page.get_by_role("button", name="Save all drafts in the run")).to_be_hidden()
    assert len(history(server)) == 1


@pytest.mark.browser
def test_the_form_can_be_used_without_a_mouse_and_passes_axe(pages: RunFolder, page: Page) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page.goto(page_of(pages).as_uri())
    page.get_by_label("Accept").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_label("Dispute").is_checked()
    # Without preload, which would fetch style sheets that the page's policy forbids to fetch.
    assert axe.Axe().run(page, options={"preload": False}).violations_count == 0

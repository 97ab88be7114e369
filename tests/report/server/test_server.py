"""Who may ask the server and who may decide."""

import http.client
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from typer.testing import CliRunner

from imgaudit.benchmark.robustness.processes import wait_until
from imgaudit.cli import app
from imgaudit.exceptions import InputError
from imgaudit.report.review import DecisionLedger
from imgaudit.report.server import ReviewServer
from imgaudit.report.server.server import LARGEST_BODY
from imgaudit.runs.folder import RunFolder
from tests.support.commands import Commands
from tests.support.review_requests import ask, decide, history
from tests.support.reviews import fields

pytestmark = [pytest.mark.enable_socket]


HOSTS = ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "[::1]:{port}", ""]


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

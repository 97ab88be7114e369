"""A client that sends slowly, much, or nothing at all holds the server only for a time and for a few bytes."""

import socket
import threading
import time
from contextlib import suppress

import pytest

from imgaudit.report.server import ReviewServer
from imgaudit.report.server import server as module
from imgaudit.report.server.request_limits import LARGEST_BODY, LARGEST_HEAD, MOST_CONNECTIONS
from tests.support.review_requests import ask

pytestmark = [pytest.mark.enable_socket]


def connect(server: ReviewServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.server_port), timeout=30)


def received(connection: socket.socket) -> bytes:
    content = b""
    with suppress(ConnectionResetError, BrokenPipeError):
        while part := connection.recv(65536):
            content += part
    return content


def trickle(connection: socket.socket, data: bytes) -> int:
    """Send a byte at a time, more often than any timeout between bytes; how many went through."""
    with suppress(ConnectionResetError, BrokenPipeError):
        for number in range(len(data)):
            connection.send(data[number : number + 1])
            time.sleep(0.05)
        return len(data)
    return number


@pytest.mark.parametrize("complete", [b"", b"POST /decisions HTTP/1.1\r\nHost: x\r\n"])
def test_a_request_that_arrives_byte_by_byte_is_ended(
    server: ReviewServer, monkeypatch: pytest.MonkeyPatch, complete: bytes
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.5)
    with connect(server) as connection:
        connection.sendall(complete)
        assert trickle(connection, b"X" * 2000) < 2000
    assert ask(server, "GET", "/report/index.html").status == 200


def test_a_body_that_does_not_come_is_answered(server: ReviewServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.5)
    host = f"127.0.0.1:{server.server_port}"
    with connect(server) as connection:
        head = (
            f"POST /decisions HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nContent-Type: application/json\r\n"
        )
        connection.sendall(f"{head}X-Imgaudit-Token: {server.token}\r\nContent-Length: 10\r\n\r\n{{".encode())
        assert b" 408 " in received(connection)


@pytest.mark.parametrize("line", [b"X-%d: " + b"a" * 1000 + b"\r\n", b"X%d" + b"a" * 20_000])
def test_a_head_without_end_is_ended(server: ReviewServer, line: bytes) -> None:
    sent = 0
    with connect(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        with suppress(ConnectionResetError, BrokenPipeError):
            for number in range(20_000):
                sent += connection.send(line % number)
        answer = received(connection)
    # What the system has buffered on both ends comes on top of what the server read.
    assert answer == b"" or answer.split()[1] in (b"431", b"414", b"400")
    assert sent < 20_000 * 1000
    assert LARGEST_HEAD + LARGEST_BODY < 2**17


def test_a_stop_just_after_a_thread_was_started_ends_the_server(
    server: ReviewServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(threading.Thread):
        """Ctrl-C can arrive while the server waits for a thread to have started."""

        def start(self) -> None:
            super().start()
            self.join(10)
            raise KeyboardInterrupt

    monkeypatch.setattr("socketserver.threading.Thread", Stopped)
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(KeyboardInterrupt):
            server.process_request(ours, ("127.0.0.1", 0))


def test_silent_connections_take_a_bounded_number_of_threads_and_are_ended(
    server: ReviewServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 1.5)
    monkeypatch.setattr(module, "WAIT", 0.05)
    before = threading.active_count()
    silent = [connect(server) for _ in range(3 * MOST_CONNECTIONS)]
    most = 0
    for connection in silent:
        most = max(most, threading.active_count() - before)
        assert received(connection) == b""
        connection.close()
    assert 0 < most <= MOST_CONNECTIONS
    assert ask(server, "GET", "/report/index.html").status == 200

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from imgaudit.exceptions import OfflineError
from imgaudit.io.offline import SETTINGS, go_offline, go_online


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in SETTINGS:
        monkeypatch.setenv(name, "")
    go_offline()
    yield
    go_online()


@pytest.mark.enable_socket
@pytest.mark.usefixtures("offline")
def test_no_connection_and_no_look_up_is_possible() -> None:
    assert all(os.environ[name] == "1" for name in SETTINGS)
    with pytest.raises(OfflineError, match="getaddrinfo"):
        socket.getaddrinfo("localhost", 80)
    with pytest.raises(OfflineError, match="gethostbyname"):
        socket.gethostbyname("localhost")


def test_a_process_that_went_offline_cannot_connect_and_says_why() -> None:
    program = (
        "import socket\n"
        "from imgaudit.io.offline import go_offline\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "socket.create_connection(server.getsockname()).close()\n"
        "go_offline()\n"
        "left, right = socket.socketpair()\n"
        "left.sendall(b'x')\n"
        "client = socket.socket()\n"
        "try:\n    client.connect(server.getsockname())\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("OfflineError a connection was about to be opened (socket.connect)"), done.stderr

"""No connection leaves this process: a promise that Python itself keeps, not one about settings of libraries."""

import os
import socket
import sys
from typing import Any

from imgaudit.exceptions import OfflineError

SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    # Its transfers run in native code, out of reach of the hook below.
    "HF_HUB_DISABLE_XET": "1",
}
"""Variables by which the libraries are told not to try; set before they are imported."""

REFUSED = frozenset({"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"})
"""Events of Python's audit hook that would open a connection or look a name up."""

_state = {"installed": False, "offline": False}


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in REFUSED or not _state["offline"]:
        return
    first = arguments[0] if arguments else None
    if isinstance(first, socket.socket) and first.family == getattr(socket, "AF_UNIX", None):
        return
    raise OfflineError(f"a connection was about to be opened ({event}), but --offline forbids it")


def go_offline() -> None:
    """Refuse every connection of this process from now on, and tell the libraries not to try.

    Sockets within the machine's file system stay possible. The hook itself cannot be removed, as Python has no way to;
    `go_online` makes it let everything pass.
    """
    os.environ.update(SETTINGS)
    _state["offline"] = True
    if not _state["installed"]:
        sys.addaudithook(_hook)
        _state["installed"] = True


def is_offline() -> bool:
    """Return whether connections are refused."""
    return _state["offline"]


def go_online() -> None:
    """Allow connections again; settings of libraries that were imported meanwhile stay as they are."""
    _state["offline"] = False

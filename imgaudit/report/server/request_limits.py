"""Limits of one connection: how long its request may take to arrive, and how many bytes it may have."""

import io
import socket
import time

PATIENCE = 15.0
"""Seconds from the connection to the last byte of the request."""

SENDING = 30.0
"""Seconds that sending the head of an answer may take, and its content."""

LARGEST_BODY = 64 * 1024
"""Bytes of one decision."""

LARGEST_HEAD = 32 * 1024
"""Bytes of the first line and the headers."""

MOST_CONNECTIONS = 32
"""Connections that are answered at the same time, each in a thread; a browser opens about six."""

WAIT = 1.0
"""Seconds that a further connection waits for one to end, before it is closed."""


class OverlongRequestError(OSError):
    """A request with more bytes than any that is answered."""


class ArrivingRequest(io.RawIOBase):
    """The bytes of a connection until a moment that no byte puts off.

    A timeout of the socket alone begins again with every byte, so that a client could hold its thread for ever.
    """

    def __init__(self, connection: socket.socket, seconds: float, limit: int) -> None:
        super().__init__()
        self._connection, self._left = connection, limit
        self._end = time.monotonic() + seconds

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        """Read what is there. Raises TimeoutError when time is up, OverlongRequestError when there is too much."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request took too long to arrive")
        if self._left <= 0:
            raise OverlongRequestError("the request has too many bytes")
        self._connection.settimeout(left)
        read = self._connection.recv_into(buffer)
        self._left -= read
        return read

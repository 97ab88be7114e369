"""Standard output and error that never take a finished command's result away.

A name that the terminal's encoding lacks is printed with escapes. When the program that reads the output ends first
(`| head`), the rest is dropped, and the work and its exit code go on as they would have. What other programs read
(--json, and the formats of `imgaudit report`) is UTF-8, whatever the terminal speaks.
"""

import errno
import io
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from typing_extensions import Buffer

_READER_GONE = {errno.EPIPE, errno.ESHUTDOWN, *((errno.EINVAL,) if os.name == "nt" else ())}
"""Errors of a pipe whose other end is closed; Windows reports an invalid argument."""

_gone: list[str] = []
_replaced: list[TextIO] = []
"""Streams that ours stand for: when one of these ends, it closes its file."""


class _LastingOutput(io.RawIOBase):
    """Writes to a file or pipe for as long as somebody reads it."""

    def __init__(self, raw: io.FileIO, name: str) -> None:
        self._raw, self._name = raw, name

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def isatty(self) -> bool:
        return self._raw.isatty()

    def write(self, data: "Buffer", /) -> int:
        size = memoryview(data).nbytes
        if self._name in _gone:
            return size
        try:
            return self._raw.write(data)
        except OSError as error:
            if error.errno not in _READER_GONE:
                raise
            _gone.append(self._name)
            return size


def prepare_streams(arguments: Sequence[str]) -> None:
    """Prepare standard output and error for one command.

    arguments:  the command line, without the program
    """
    sys.stdout = _prepare(sys.stdout, "stdout", encoding="utf-8" if _prints_data(arguments) else None)
    sys.stderr = _prepare(sys.stderr, "stderr", encoding=None)


def output_is_read() -> bool:
    """Return whether somebody still reads the standard output: a command that only prints can stop when nobody does."""
    return "stdout" not in _gone


def _prints_data(arguments: Sequence[str]) -> bool:
    """Return whether the output is made for programs."""
    formats = any(one.split("=")[0] in {"--format", "-f"} or one.startswith("-f") for one in arguments)
    return "--json" in arguments or (arguments[:1] == ["report"] and formats)


def _prepare(stream: TextIO | None, name: str, *, encoding: str | None) -> TextIO:
    if stream is None:
        # The stream was closed before the command began; nobody reads it.
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    used = encoding or stream.encoding
    # Under LANG=C Python keeps bytes that are no text, but has no way to write other characters.
    errors = stream.errors if used.lower().replace("-", "") == "utf8" and encoding is None else "backslashreplace"
    # With PYTHONUNBUFFERED there is no buffer between the text and the file.
    raw = stream.buffer.raw if isinstance(stream.buffer, io.BufferedWriter) else stream.buffer
    if not isinstance(raw, io.FileIO):
        stream.reconfigure(encoding=encoding, errors=errors)
        return stream
    _replaced.append(stream)
    lasting = io.BufferedWriter(_LastingOutput(raw, name))
    return io.TextIOWrapper(
        lasting, encoding=used, errors=errors, line_buffering=stream.line_buffering or stream.write_through
    )

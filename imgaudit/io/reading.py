"""Strangers' files: opened without following, blocking or running anything, and read up to a limit."""

import os
import stat
from pathlib import Path

from imgaudit.exceptions import InputError


def read_bounded(path: Path, limit: int, *, follow_links: bool = True) -> bytes:
    """The bytes of a regular file of at most `limit` bytes.

    follow_links:  whether the last part of the path may be a symbolic link; True for files that the user named
    Raises InputError, whose message completes the sentence "the file ...".

    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp(), "a.txt")
    >>> _ = file.write_bytes(b"abc")
    >>> read_bounded(file, 10)
    b'abc'
    """
    flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    # Opening a FIFO for reading would block for ever; O_NONBLOCK lets fstat refuse it instead.
    flags |= getattr(os, "O_NONBLOCK", 0)
    if not follow_links:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    try:
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be opened: {getattr(error, 'strerror', None) or error}") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise InputError("is a folder" if stat.S_ISDIR(status.st_mode) else "is not a regular file")
    with os.fdopen(descriptor, "rb") as file:
        if status.st_size > limit:
            raise InputError(f"has {status.st_size:,} bytes; at most {limit:,} are read")
        try:
            data = file.read(limit + 1)
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}") from error
    if len(data) > limit:
        raise InputError(f"grew beyond {limit:,} bytes while it was read")
    return data


def format_path(path: Path | str) -> str:
    """A path as text that can be written as UTF-8, whatever bytes the file system holds; different paths differ.

    >>> format_path("a/b.png")
    'a/b.png'
    >>> format_path("a/\\udcff.png")
    "not UTF-8: b'a/\\\\xff.png'"
    """
    text = str(path)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return f"not UTF-8: {os.fsencode(text)!r}"
    return text

"""Untrusted files: opened without following links, blocking or running anything, and read up to a limit.

Every text file from outside is decoded here: UTF-8 with or without its byte-order mark, or UTF-16 with its mark.
"""

import codecs
import errno
import hashlib
import os
import stat
from contextlib import ExitStack
from io import BufferedReader
from pathlib import Path

from imgaudit.exceptions import InputError
from imgaudit.io.containment import NO_FOLLOW, PLAIN, OpenFolder, find_container, open_parent


class IrregularFileError(OSError):
    """A folder, FIFO, socket or device in the place of a file."""


def read_bounded(path: Path, limit: int, *, follow_links: bool = True) -> bytes:
    """Return the bytes of a regular file of at most `limit` bytes.

    follow_links:  whether the last part of the path may be a symbolic link; True for files that the user named
    Raises InputError, whose message completes the sentence "the file ...".

    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp(), "a.txt")
    >>> _ = file.write_bytes(b"abc")
    >>> read_bounded(file, 10)
    b'abc'
    """
    return _read_all(open_bounded(path, limit, follow_links=follow_links), limit)


def open_bounded(path: Path, limit: int, *, follow_links: bool = True) -> BufferedReader:
    """Open a regular file of at most `limit` bytes, with the arguments and the errors of `read_bounded`."""
    try:
        file = open_regular(path, follow_links=follow_links)
    except IrregularFileError as error:
        raise InputError(error.strerror) from error
    except InputError as error:
        raise InputError(f"cannot be opened: {error}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be opened: {getattr(error, 'strerror', None) or error}") from error
    return _require_size(file, limit)


def read_within(folder: OpenFolder, name: str, limit: int) -> bytes:
    """Return the bytes of a regular file in an open folder, of at most `limit` bytes; a link is not followed.

    Raises OSError and RunFolderError where it cannot be opened, and InputError as `read_bounded` does.
    """
    file = _require_regular(folder.open(name, os.O_RDONLY), folder.path / name)
    return _read_all(_require_size(file, limit), limit)


def _require_size(file: BufferedReader, limit: int) -> BufferedReader:
    if (size := os.fstat(file.fileno()).st_size) > limit:
        file.close()
        raise InputError(f"has {size:,} bytes; at most {limit:,} are read")
    return file


def _read_all(file: BufferedReader, limit: int) -> bytes:
    with file:
        try:
            data = file.read(limit + 1)
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}") from error
    if len(data) > limit:
        raise InputError(f"grew beyond {limit:,} bytes while it was read")
    return data


def open_regular(path: Path, *, follow_links: bool = True) -> BufferedReader:
    """Open a regular file for reading; what is anything else is refused without blocking.

    follow_links:  as in `read_bounded`; below a contained folder no link is ever followed
    Raises RunFolderError for a link below a contained folder, IrregularFileError for what is no regular file, OSError
    for everything else that cannot be opened.
    """
    if find_container(path) is not None:
        with open_parent(path) as folder:
            descriptor = folder.open(path.name, os.O_RDONLY)
    else:
        descriptor = os.open(path, os.O_RDONLY | PLAIN | (0 if follow_links else NO_FOLLOW))
    return _require_regular(descriptor, path)


class FolderReader:
    """Opens files below a contained folder as `open_regular` does, and keeps the folder of the last one open.

    To walk to the folder of each of many thousand files takes longer than to read them. A context manager.
    """

    def __init__(self, root: Path) -> None:
        """Prepare to read below a folder, without opening it."""
        self._root, self._stack = root, ExitStack()
        self._parent: str | None = None
        self._folder: OpenFolder | None = None

    def __enter__(self) -> "FolderReader":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def open(self, name: str) -> BufferedReader:
        """Open a file by its path below the folder, with `/` between names; errors as of `open_regular`."""
        parent, _, own = name.rpartition("/")
        if self._folder is None or parent != self._parent:
            self._stack.close()
            self._folder = None
            self._folder = self._stack.enter_context(open_parent(self._root / name))
            self._parent = parent
        descriptor = self._folder.open(own, os.O_RDONLY)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return os.fdopen(descriptor, "rb")
        # Refused there with its path, which is not put together for a file that is opened.
        return _require_regular(descriptor, self._folder.path / own)


def _require_regular(descriptor: int, path: Path) -> BufferedReader:
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise IrregularFileError(
            errno.EINVAL, "is a folder" if stat.S_ISDIR(mode) else "is not a regular file", str(path)
        )
    return os.fdopen(descriptor, "rb")


def hash_file(path: Path, limit: int | None = None) -> str:
    """Return the SHA-256 of a regular file's bytes, as 64 hexadecimal digits.

    limit:  bytes that it may have at most; None for any number
    Raises RunFolderError for a link below a contained folder, OSError when it cannot be read or is larger.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if limit is not None and size > limit:
            raise OSError(errno.EFBIG, f"it has {size:,} bytes, and at most {limit:,} are read", str(path))
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_encoding(beginning: bytes) -> str:
    """Return the encoding that the first bytes of a text name by their byte-order mark; UTF-8 where they name none.

    >>> find_encoding("a".encode("utf-16")), find_encoding(b"abc")
    ('utf-16', 'utf-8-sig')
    """
    return "utf-16" if beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"


def decode_text(data: bytes, *, fallback: str = "") -> str:
    """Decode UTF-8 or UTF-16 and leave out the byte-order mark.

    fallback:  encoding of a single-byte character set for text that is neither; its undefined bytes become U+FFFD
    Raises InputError, whose message completes the sentence "the file ...", when there is no fallback.

    >>> decode_text(b"\\xef\\xbb\\xbfcaf\\xc3\\xa9"), decode_text(b"caf\\xe9", fallback="cp1252")
    ('caf\u00e9', 'caf\u00e9')
    """
    encoding = find_encoding(data)
    try:
        return data.decode(encoding, errors="replace" if fallback and encoding == "utf-16" else "strict")
    except UnicodeDecodeError as error:
        if fallback:
            return data.decode(fallback, errors="replace")
        raise InputError(f"cannot be read as UTF-8 text: {error}; save it as UTF-8") from error


def read_text(path: Path, limit: int, what: str) -> str:
    """Read a text file that the user named: UTF-8, or UTF-16 with a byte-order mark, of at most `limit` bytes.

    what:  name of the kind of file in error messages ("table")
    Raises InputError that names the file.
    """
    try:
        return decode_text(read_bounded(path, limit))
    except InputError as error:
        raise InputError(f"the {what} {format_path(path)!r} {error}") from error


def format_path(path: Path | str) -> str:
    """Return a path as text that can be written as UTF-8, whatever bytes it holds; different paths stay different.

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

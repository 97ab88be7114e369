"""Files of our own: written atomically, appended durably, and read back with a check."""

import csv
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from imgaudit.exceptions import ImageError, InputError, RunFolderError
from imgaudit.io.containment import OpenFolder, open_parent
from imgaudit.io.reading import open_regular, read_bounded

MAX_JSON_BYTES = 512 * 2**20
"""Bytes of a JSON file that is read back as a whole."""

MAX_PIECES_BYTES = 2 * 2**30
"""Bytes of a file that is read back in pieces: records, and the report of some 300,000 images."""

MAX_LINE_BYTES = 64 * 2**20
"""Bytes of one record."""

_CHECK = re.compile(rb', "check": "([0-9a-f]{16})"\}\n?\Z')
"""The end of a line that `append_lines` wrote."""

LONGEST_END = 32
"""Bytes of such an end at most."""

UNFINISHED = re.compile(r"\..*\.[0-9a-f]{16}\.partial", re.DOTALL)
"""Names of files that are being written; a kill can leave some, which count for nothing."""

MAX_PNG_PIXELS = MAX_PNG_BYTES = 64 * 2**20
"""Pixels and bytes of a PNG that is read back; a run from elsewhere can hold any file."""


Content = str | bytes | Iterable[str]
"""What is written: all of it, or pieces of a text, of which one at a time is in memory."""


def write_atomically(path: Path, content: Content, *, durable: bool = True, modified: int | None = None) -> None:
    """Write a file so that it is either the old one or the new one, whatever happens in between.

    A link in its place is replaced, and never followed; below a contained folder, neither is one to a folder.
    durable:   wait until it is on disk; what can be made again at any time need not
    modified:  its time, in nanoseconds; None for now
    Raises RunFolderError for a link, or anything else that is no folder, in the place of a folder.
    """
    with open_parent(path, make=True) as folder:
        write_into(folder, path.name, content, durable=durable, modified=modified)


def write_into(
    folder: OpenFolder, name: str, content: Content, *, durable: bool = True, modified: int | None = None
) -> None:
    """Write a file into an open folder, as `write_atomically` does: for many files of one folder.

    A file that can be made again and has this content already is left as it is: putting a file in the place of another
    takes several times as long as reading it, on file systems that write it out at once.
    """
    if not durable and modified is None and isinstance(content, str | bytes):
        content = content if isinstance(content, bytes) else content.encode("utf-8")
        if _has_content(folder, name, content):
            return
    # Nobody can put a link, or a file of theirs, in the place of a name that they cannot guess.
    temporary = f".{name[:40]}.{secrets.token_hex(8)}.partial"
    descriptor = folder.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                file.writelines(one.encode("utf-8") for one in ([content] if isinstance(content, str) else content))
            file.flush()
            if durable:
                os.fsync(file.fileno())
        if modified is not None:
            folder.set_time(temporary, modified)
        folder.replace(temporary, name)
    except BaseException:
        folder.remove(temporary)
        raise


def _has_content(folder: OpenFolder, name: str, content: bytes) -> bool:
    """Tell whether there is a regular file with this content, which has no other name anywhere."""
    try:
        status = folder.status(name)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1 or status.st_size != len(content):
            return False
        with os.fdopen(folder.open(name, os.O_RDONLY), "rb") as file:
            return file.read(len(content) + 1) == content
    except (OSError, RunFolderError):
        return False


def remove_unfinished(folder: Path) -> None:
    """Remove what a kill left of files that were being written below a folder that this process holds."""
    for parent, _, names in os.walk(folder):
        for name in filter(UNFINISHED.fullmatch, names):
            remove_file(Path(parent, name))


def remove_file(path: Path) -> None:
    """Remove a file where there is one, without following a link below a contained folder."""
    with suppress(FileNotFoundError), open_parent(path) as folder:
        folder.remove(path.name)


def remove_folder(path: Path) -> None:
    """Remove a folder with all that is in it, as far as possible; of a link, nothing."""
    with suppress(FileNotFoundError), open_parent(path) as folder:
        # Links inside are removed themselves and never followed.
        shutil.rmtree(folder.place(path.name), ignore_errors=True, dir_fd=folder.descriptor)


def encode_png(image: Image.Image) -> bytes:
    """Return an image as the bytes of a PNG: pixels only, without any metadata."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def write_png(path: Path, image: Image.Image) -> None:
    """Write an image atomically, as `encode_png` makes it."""
    write_atomically(path, encode_png(image))


def decode_png(data: bytes) -> Image.Image:
    """Decode a PNG that a run holds, as RGB.

    Raises ImageError, whose message completes the sentence "the file ...".
    """
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            if image.width * image.height > MAX_PNG_PIXELS:
                raise ImageError(f"has {image.width} x {image.height} pixels; at most {MAX_PNG_PIXELS:,} are read")
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageError(f"is damaged: {error}") from error


def read_png(path: Path) -> Image.Image:
    """Read a PNG that a run holds, as RGB. Raises RunFolderError that names the file."""
    try:
        return decode_png(read_bounded(path, MAX_PNG_BYTES))
    except InputError as error:
        raise RunFolderError(f"{str(path)!r} is missing or damaged: {error}") from error


def format_json(value: Any) -> str:
    """Return indented JSON. NaN and infinity are refused: what was not measured is said in words."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically, as `format_json` makes it."""
    write_atomically(path, format_json(value))


def format_csv(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> str:
    """Return rows as CSV under a heading; a row may lack columns, whose cells stay empty.

    >>> format_csv([{"a": 1, "b": "x,y"}, {"a": 2}], ["a", "b"])
    'a,b\\n1,"x,y"\\n2,\\n'
    """
    return "".join(format_csv_lines(rows, columns))


def format_csv_lines(rows: Iterable[Mapping[str, object]], columns: Sequence[str]) -> Iterator[str]:
    """Yield the heading and the rows of the same, one at a time."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
        writer.writerow(row)
    yield buffer.getvalue()


def read_json(path: Path, limit: int = MAX_JSON_BYTES) -> Any:
    """Read JSON of at most `limit` bytes. Raises RunFolderError that names the file."""
    try:
        return json.loads(read_bounded(path, limit).decode("utf-8"))
    except (InputError, ValueError, RecursionError) as error:
        raise RunFolderError(f"{str(path)!r} cannot be read: {error}") from error


def append_lines(path: Path, records: Sequence[dict[str, Any]]) -> None:
    """Append records as lines of JSON, each with a checksum over it, and wait until all of them are on disk."""
    if not records:
        return
    append_bytes(
        path, "".join(format_record(record | {"check": _checksum(record)}) for record in records).encode("utf-8")
    )


def append_bytes(path: Path, lines: bytes) -> None:
    """Append whole lines and wait until they are on disk.

    Raises RunFolderError for a link, for what is no regular file, and for a file that has another name elsewhere.
    """
    with _open_to_append(path) as file:
        # A kill can leave half a line; the next one must not be glued to it.
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            lines = lines if file.read(1) == b"\n" else b"\n" + lines
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())


def _open_to_append(path: Path) -> BinaryIO:
    with open_parent(path) as folder:
        descriptor = folder.open(path.name, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(descriptor)
        what = "has another name elsewhere (a hard link), whose content would change too: put a copy in its place"
        raise RunFolderError(
            f"{str(path)!r} {what if stat.S_ISREG(status.st_mode) else 'is not a regular file: remove it'}"
        )
    return os.fdopen(descriptor, "rb+")


def read_line(line: bytes) -> dict[str, Any] | None:
    """Return a record as `append_lines` wrote it; None for a line that is damaged or was cut by a kill.

    >>> read_line(b'{"a": 1, "check": "0123456789abcdef"}') is None
    True
    """
    try:
        record = json.loads(line)
        # Of a line as it was written, the bytes before the checksum are what it is made from.
        if (end := _CHECK.search(line, max(0, len(line) - LONGEST_END))) is not None:
            written = hashlib.sha256(line[: end.start()] + b"}\n").hexdigest()[:16]
            if record["check"] == written == end[1].decode():
                del record["check"]
                return dict(record)
        return record if record.pop("check") == _checksum(record) else None
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return None


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a file that `append_lines` wrote, but for damaged lines; none where there is no file."""
    yield from (record for line in split_lines(path) if (record := read_line(line)) is not None)


def split_lines(path: Path) -> Iterator[bytes]:
    """Yield a file's lines one at a time, none where there is no file; of one that is too long, its parts.

    Raises RunFolderError for a link, for what is no regular file, and for a file that is too large.
    """
    try:
        file = open_regular(path, follow_links=False)
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunFolderError(f"{str(path)!r} cannot be read: {error.strerror}") from error
    with file:
        if (size := os.fstat(file.fileno()).st_size) > MAX_PIECES_BYTES:
            raise RunFolderError(f"{str(path)!r} has {size:,} bytes; at most {MAX_PIECES_BYTES:,} are read")
        yield from iter(partial(file.readline, MAX_LINE_BYTES), b"")


def format_record(record: dict[str, Any]) -> str:
    """Return a record as a line of JSON: the text that its checksum and its link are made from."""
    return json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"


def _checksum(record: dict[str, Any]) -> str:
    # A damaged disk can leave a line that still reads as a record, with another number in it.
    return hashlib.sha256(format_record(record).encode("utf-8", errors="surrogatepass")).hexdigest()[:16]

"""Files of our own: written atomically, appended durably, and read back with a check."""

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from imgaudit.exceptions import ImageError, InputError, RunFolderError
from imgaudit.io.reading import read_bounded

MAX_PNG_PIXELS = MAX_PNG_BYTES = 64 * 2**20
"""Pixels and bytes of a PNG that is read back; a run from elsewhere can hold any file."""


def write_atomically(path: Path, content: str | bytes, *, durable: bool = True) -> None:
    """Write a file so that it is either the old one or the new one, whatever happens in between.

    durable: wait until it is on disk; what can be made again at any time need not
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    data = content.encode("utf-8") if isinstance(content, str) else content
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    temporary.replace(path)


def write_png(path: Path, image: Image.Image) -> None:
    """Write an image atomically: pixels only, without any metadata."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    write_atomically(path, buffer.getvalue())


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
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def read_json(path: Path) -> Any:
    """Read JSON. Raises RunFolderError that names the file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunFolderError(f"{str(path)!r} cannot be read: {error}") from error


def append_lines(path: Path, records: Sequence[dict[str, Any]]) -> None:
    """Append records as lines of JSON, each with a checksum over it, and wait until all of them are on disk."""
    if not records:
        return
    lines = "".join(_format_line(record, check=_checksum(record)) for record in records)
    with path.open("ab+") as file:
        # A kill can leave half a line; the next one must not be glued to it.
        if file.tell() and not _ends_with_newline(path):
            file.write(b"\n")
        file.write(lines.encode("utf-8"))
        file.flush()
        os.fsync(file.fileno())


def read_line(line: bytes) -> dict[str, Any] | None:
    """Return a record as `append_lines` wrote it; None for a line that is damaged or was cut by a kill.

    >>> read_line(b'{"a": 1, "check": "0123456789abcdef"}') is None
    True
    """
    try:
        record = json.loads(line)
        return record if record.pop("check") == _checksum(record) else None
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return None


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a file that `append_lines` wrote, but for damaged lines; none where there is no file."""
    if path.is_file():
        with path.open("rb") as file:
            yield from (record for line in file if (record := read_line(line)) is not None)


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _format_line(record: dict[str, Any], **more: str) -> str:
    return json.dumps(record | more, ensure_ascii=False, allow_nan=False) + "\n"


def _checksum(record: dict[str, Any]) -> str:
    # A damaged disk can leave a line that still reads as a record, with another number in it.
    return hashlib.sha256(_format_line(record).encode("utf-8", errors="surrogatepass")).hexdigest()[:16]

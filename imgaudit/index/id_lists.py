"""Lists of names that belong to vectors: text, CSV, JSON lines or Parquet, read row by row."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from imgaudit.exceptions import InputError
from imgaudit.index.names import LONGEST, Name

SUFFIXES = (".txt", ".csv", ".jsonl", ".parquet")
"""How a list of names can be written."""

LINE = 4 * LONGEST
"""Characters of one line."""


def read_id_list(path: Path) -> Iterator[Name]:
    """Every name of a list, in order.

    .txt      one id per line
    .csv      columns `id` and, if there is one, `path`
    .jsonl    objects with `id` and, if there is one, `path`
    .parquet  columns `id` and, if there is one, `path`

    Raises InputError that names the line.
    """
    if not path.is_file():
        raise InputError(f"the id list {str(path)!r} is not a regular file")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"the id list {str(path)!r} must end with {', '.join(SUFFIXES)}")
    if suffix == ".parquet":
        yield from _parquet(path)
        return
    # A line that ends with a carriage return alone would move every name after it.
    with path.open(encoding="utf-8", newline="" if suffix == ".csv" else "\n") as file:
        try:
            yield from {".txt": _text, ".csv": _csv, ".jsonl": _json_lines}[suffix](path, file)
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"the id list {str(path)!r} cannot be read: {error}") from error


def count_ids(path: Path) -> int:
    """Names in a list; raises InputError as reading it does."""
    return sum(1 for _ in read_id_list(path))


def _lines(path: Path, file: TextIO) -> Iterator[tuple[int, str]]:
    number = 0
    while line := file.readline(LINE + 1):
        number += 1
        if len(line) > LINE:
            raise InputError(f"the id list {str(path)!r} has more than {LINE:,} characters in line {number}")
        yield number, line


def _text(path: Path, file: TextIO) -> Iterator[Name]:
    for _, line in _lines(path, file):
        yield Name(line.rstrip("\r\n"), "")


def _csv(path: Path, file: TextIO) -> Iterator[Name]:
    reader = csv.DictReader(line for _, line in _lines(path, file))
    if "id" not in (reader.fieldnames or []):
        raise InputError(f"the id list {str(path)!r} has no column 'id', but {list(reader.fieldnames or [])[:10]}")
    for row in reader:
        yield Name(row["id"] or "", row.get("path") or "")


def _json_lines(path: Path, file: TextIO) -> Iterator[Name]:
    for number, line in _lines(path, file):
        try:
            value = json.loads(line)
            name = Name(value["id"], value.get("path") or "")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise InputError(f"the id list {str(path)!r} has no object with an id in line {number}") from error
        yield Name(*(_as_text(text) for text in name))


def _parquet(path: Path) -> Iterator[Name]:
    from imgaudit.index.parquet import open_parquet

    file = open_parquet(path)
    columns = [name for name in ("id", "path") if name in file.schema_arrow.names]
    if "id" not in columns:
        raise InputError(f"the id list {str(path)!r} has no column 'id', but {file.schema_arrow.names[:10]}")
    for batch in file.iter_batches(batch_size=8192, columns=columns):
        values = [[_as_text(value) for value in column.to_pylist()] for column in batch.columns]
        yield from (Name(one, "") for one in values[0]) if len(values) == 1 else map(Name, *values)


def _as_text(value: object) -> str:
    """Ids may be numbers; nothing is an empty text, and text that cannot be UTF-8 is shown as escapes."""
    return "" if value is None else str(value).encode("utf-8", errors="backslashreplace").decode("utf-8")

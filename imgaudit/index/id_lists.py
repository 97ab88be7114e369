"""Lists of names that belong to vectors: text, CSV, JSON lines or Parquet, read row by row."""

from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from imgaudit.exceptions import InputError
from imgaudit.index.names import LONGEST, Name
from imgaudit.io.reading import find_encoding
from imgaudit.io.tables import Row, parse_csv, parse_json_lines

SUFFIXES = (".txt", ".csv", ".jsonl", ".ndjson", ".parquet")
"""File name suffixes of the formats that a list of names can be written in."""

ID_KEYS = ("id", "file_name", "file", "image")
"""Columns in which a name is looked for, the first that there is: those of tables of captions count too."""

LINE = 4 * LONGEST
"""Characters of one line."""


def read_id_list(path: Path) -> Iterator[Name]:
    """Yield every name of a list, in order.

    .txt      one id per line
    .csv      columns `id` (or file_name, file, image) and, if there is one, `path`
    .jsonl    objects with the same keys; also .ndjson
    .parquet  the same columns

    Raises InputError that names the line.
    """
    if not path.is_file():
        raise InputError(f"the id list {str(path)!r} is not a regular file")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"the id list {str(path)!r} must end with {', '.join(SUFFIXES)}")
    if suffix == ".parquet":
        yield from _read_parquet(path)
        return
    with path.open("rb") as file:
        encoding = find_encoding(file.read(2))
    # Only a newline ends a line of text: a carriage return alone would move every name after it.
    with path.open(encoding=encoding, newline="" if suffix == ".csv" else "\n") as file:
        lines = _read_lines(path, file)
        try:
            if suffix == ".txt":
                yield from (Name(line.rstrip("\r\n"), "") for line in lines)
                return
            parse = parse_csv if suffix == ".csv" else parse_json_lines
            for number, row in parse(f"the id list {str(path)!r}", lines):
                yield _to_name(path, number, row)
        except UnicodeDecodeError as error:
            raise InputError(f"the id list {str(path)!r} cannot be read: {error}; save it as UTF-8") from error


def count_ids(path: Path) -> int:
    """Count the names in a list. Raises InputError as reading it does."""
    return sum(1 for _ in read_id_list(path))


def _read_lines(path: Path, file: TextIO) -> Iterator[str]:
    number = 0
    while line := file.readline(LINE + 1):
        number += 1
        if len(line) > LINE:
            raise InputError(f"the id list {str(path)!r} has more than {LINE:,} characters in line {number}")
        yield line


def _to_name(path: Path, number: int, row: Row) -> Name:
    column = next((key for key in ID_KEYS if key in row), None)
    if column is None:
        raise InputError(
            f"the id list {str(path)!r} has no 'id' in line {number}, but the columns {sorted(map(str, row))[:10]}"
        )
    return Name(_as_text(row[column]), _as_text(row.get("path")))


def _read_parquet(path: Path) -> Iterator[Name]:
    from imgaudit.index.parquet import open_parquet

    file = open_parquet(path)
    held = file.schema_arrow.names
    columns = [name for name in ID_KEYS if name in held][:1]
    if not columns:
        raise InputError(f"the id list {str(path)!r} has no column 'id', but {file.schema_arrow.names[:10]}")
    columns += ["path"] if "path" in held else []
    for batch in file.iter_batches(batch_size=8192, columns=columns):
        values = [[_as_text(value) for value in batch.column(name).to_pylist()] for name in columns]
        yield from (Name(one, "") for one in values[0]) if len(values) == 1 else map(Name, *values)


def _as_text(value: object) -> str:
    """Return a value as text: ids may be numbers, None is empty, and text that cannot be UTF-8 is shown as escapes."""
    return "" if value is None else str(value).encode("utf-8", errors="backslashreplace").decode("utf-8")

"""Untrusted tables, CSV, JSON Lines or Parquet: rows read within bounds, prompts, and captions fitted to images."""

import csv
import io
import json
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from imgaudit.exceptions import InputError
from imgaudit.io.parquet_rows import read_parquet_rows
from imgaudit.io.reading import format_path, read_text

MAX_TABLE_BYTES = 256 * 1024 * 1024
"""Larger tables are refused."""

MAX_TEXTS = 64
"""More prompts for one image are refused: the seeds are spread over them."""

MAX_PROMPTS = 1_000_000
"""More prompts in one table are refused."""

_NAME_KEYS = ("file_name", "filename", "file", "path", "image")
_TEXT_KEYS = ("text", "caption", "prompt")
_PROMPT_KEYS = ("prompt", "text", "caption")
"""The columns in which prompts are looked for, the first that a row has; a table of captions goes by the same names."""

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
"""Files with these endings are read as tables."""

Row = Mapping[str, Any]
"""The named cells of one row."""


@dataclass(frozen=True)
class TablePrompt:
    """A prompt of a table."""

    text: str
    """As it stands there."""
    columns: Row
    """The table's other columns."""


def parse_json_lines(name: str, lines: Iterable[str]) -> Iterator[tuple[int, Row]]:
    """Yield the number of every line that is not blank, and its JSON object.

    name:  of the table, for messages
    Raises InputError that names the first line that holds anything else, or one key twice.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_refuse_repeated_keys)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{name}, line {number}: is not JSON ({error})") from error
        if not isinstance(row, dict):
            raise InputError(f"{name}, line {number}: expected a JSON object, but got {type(row).__name__}")
        yield number, row


def parse_csv(name: str, lines: Iterable[str], delimiter: str = ",") -> Iterator[tuple[int, Row]]:
    """Yield the number of the line on which each row ends, and the row's named cells.

    name:       of the table, for messages
    delimiter:  between cells
    Raises InputError that names the first line that is not CSV, and for two columns of one name.
    """
    # The limit holds for the whole process; callers bound tables or lines already.
    csv.field_size_limit(MAX_TABLE_BYTES)
    reader = csv.DictReader(lines, strict=True, delimiter=delimiter)
    try:
        reader.fieldnames = [column.strip() for column in reader.fieldnames or ()]
        columns = [column for column in reader.fieldnames if column]
        if len(set(columns)) < len(columns):
            raise InputError(f"{name}: a column occurs twice: {columns[:20]}")
        for row in reader:
            yield reader.line_num, {key: value for key, value in row.items() if key}
    except csv.Error as error:
        raise InputError(f"{name}, line {reader.line_num}: is not CSV ({error})") from error


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice in one object")
    return found


def _read_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Yield where each row of a table stands, in words, and the row: JSON Lines or Parquet by the name, or else CSV."""
    if path.suffix.lower() == ".parquet":
        yield from ((f"{path.name}, row {number}", row) for number, row in read_parquet_rows(path, MAX_TABLE_BYTES))
        return
    content = read_text(path, MAX_TABLE_BYTES, "table")
    if path.suffix.lower() in {".jsonl", ".ndjson"}:
        rows = parse_json_lines(path.name, io.StringIO(content, newline="\n"))
    else:
        rows = parse_csv(path.name, io.StringIO(content, newline=""), _find_delimiter(content))
    yield from ((f"{path.name}, line {number}", row) for number, row in rows)


def _find_delimiter(content: str) -> str:
    """Return what is between the cells of a table, by its first line: spreadsheets in many languages write semicolons.

    >>> _find_delimiter("file_name;text"), _find_delimiter("my words")
    (';', ',')
    """
    head = content[:10_000].partition("\n")[0]
    known = {*_NAME_KEYS, *_TEXT_KEYS}

    def count(delimiter: str) -> int:
        return len(known & {cell.strip(' \r"').lower() for cell in head.split(delimiter)})

    return max(",;\t", key=count)


def read_prompts(path: Path) -> list[TablePrompt]:
    """Read a .txt file with one prompt per line, or a .csv, .tsv, .jsonl, .ndjson or .parquet table.

    In a table the prompt stands in the column `prompt`, else `text`, else `caption`.

    Blank lines are left out. Raises InputError for another format, a row without a prompt, or a file without any.
    """
    suffix = path.suffix.lower()
    if suffix not in {".txt", *TABLE_SUFFIXES}:
        raise InputError(
            f"{path.name!r} is no table of prompts: expected a .txt with one prompt per line, or a .csv, .jsonl or "
            f".parquet with one of the columns {_PROMPT_KEYS}"
        )
    if suffix == ".txt":
        # Not str.splitlines: form feeds and such are part of a hostile prompt, not the end of it.
        lines = (line.rstrip("\r") for line in read_text(path, MAX_TABLE_BYTES, "table").split("\n"))
        found = [TablePrompt(line, {}) for line in lines if line.strip()]
    else:
        found = [_to_prompt(where, row) for where, row in _read_rows(path)]
    if not found:
        raise InputError(f"{path.name!r} has no prompt")
    if len(found) > MAX_PROMPTS:
        raise InputError(f"{path.name!r} has {len(found):,} prompts; at most {MAX_PROMPTS:,} are read")
    return found


def _to_prompt(where: str, row: Row) -> TablePrompt:
    column = _find_column(row, _PROMPT_KEYS)
    text = row.get(column)
    if not isinstance(text, str):
        raise InputError(
            f"{where}: expected a text in one of the columns {_PROMPT_KEYS}, but found "
            + (f"{type(text).__name__}" if column else f"the columns {sorted(map(str, row))[:20]}")
        )
    columns = {key: value for key, value in row.items() if key != column}
    try:
        json.dumps(columns, allow_nan=False)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{where}: a column holds NaN, infinity or a date, which JSON does not have; leave it out"
        ) from error
    return TablePrompt(text, columns)


def read_captions(path: Path, *, several: bool = False) -> dict[str, list[str]]:
    """Read a CSV, JSON Lines or Parquet table of file names and texts: relative name to its texts, as they stand there.

    The name stands in `file_name` (or filename, file, path, image), the text in `text` (or caption, prompt), in capital
    letters or small ones. A row without a text stands for none.
    several:  whether a name may have more than one line
    Raises InputError for another format, missing columns, a broken line, a name that occurs too often or that points
    outside the folder.
    """
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise InputError(f"{path.name!r} is no table of captions: expected {', '.join(TABLE_SUFFIXES)}")
    texts: dict[str, list[str]] = {}
    for where, row in _read_rows(path):
        column = _find_column(row, _TEXT_KEYS)
        name, text = row.get(_find_column(row, _NAME_KEYS)), row.get(column)
        text = "" if text is None else text
        if name in (None, "") or not column:
            raise InputError(
                f"{where}: expected a name in one of {_NAME_KEYS} and a text in one of "
                f"{_TEXT_KEYS}, but found the columns {sorted(map(str, row))[:20]}"
            )
        if not isinstance(name, str) or isinstance(text, dict | list):
            raise InputError(f"{where}: expected a name and a text, but got {type(name).__name__} and "
                             f"{type(text).__name__}")  # fmt: skip
        if _leaves_folder(name):
            raise InputError(f"{where}: {name[:200]!r} is outside the folder: give names relative to it")
        if name in texts and not several:
            raise InputError(f"{where}: {name[:200]!r} occurs twice")
        own = texts.setdefault(name, [])
        own.append(str(text))
        if len(own) > MAX_TEXTS:
            raise InputError(f"{where}: {name[:200]!r} has more than {MAX_TEXTS} texts")
    return texts


def _find_column(row: Row, names: Sequence[str]) -> str:
    """Return the first of these columns that holds something, or else the first that there is; empty without one."""
    there = [column for name in names for column in row if column.lower() == name]
    return next((column for column in there if row[column] not in (None, "")), there[0] if there else "")


def _leaves_folder(name: str) -> bool:
    windows = PureWindowsPath(name)
    return bool(windows.drive or windows.root) or ".." in windows.parts or PurePosixPath(name).is_absolute()


def _normalise(name: str) -> str:
    # Some systems store é as two characters and some as one; people type what they see.
    return unicodedata.normalize("NFC", name)


def assign_texts(
    table: Mapping[str, list[str]], name: str, folder: Path, images: Sequence[Path], *, strict: bool = False
) -> tuple[dict[Path, list[str]], list[str]]:
    """Find the image that each line of a table belongs to; return its texts, and remarks on lines that fit none.

    A name is a path within the folder, or the bare name of a single image anywhere in it.
    name:    of the table, for messages
    strict:  whether a table without a single fitting name is an error
    Raises InputError then.
    """
    exact = {path.relative_to(folder).as_posix(): path for path in images}
    loose: defaultdict[str, set[Path]] = defaultdict(set)
    for relative, path in exact.items():
        loose[_normalise(relative)].add(path)
        loose[_normalise(path.name)].add(path)
    found: dict[Path, list[str]] = {}
    unknown, ambiguous = [], []
    for given in sorted(table, key=lambda key: key in exact):
        plain = given if given in exact else PurePosixPath(given.replace("\\", "/")).as_posix()
        fitting = {exact[plain]} if plain in exact else loose.get(_normalise(plain), set())
        if len(fitting) == 1:
            found[next(iter(fitting))] = table[given]
        elif fitting:
            ambiguous.append(given)
        else:
            unknown.append(given)
    if strict and not table:
        raise InputError(f"{name}: holds no names and texts")
    if strict and not found:
        raise InputError(
            f"{name}: none of its {len(table)} names is an image in {format_path(folder)!r} "
            f"(such as {next(iter(table))[:200]!r})"
        )
    remarks = []
    if unknown:
        remarks.append(f"{name}: {len(unknown)} of {len(table)} names are no image here (such as {unknown[0][:200]!r})")
    if ambiguous:
        remarks.append(
            f"{name}: {len(ambiguous)} of {len(table)} names fit several images and were not used "
            f"(such as {ambiguous[0][:200]!r}); give the path within the folder"
        )
    return found, remarks

"""Tables of captions or prompts, CSV or JSONL, from strangers: read, bounded, and fitted to the images of a folder."""

import csv
import io
import json
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from imgaudit.exceptions import InputError
from imgaudit.io.reading import format_path, read_bounded

MAX_TABLE_BYTES = 256 * 1024 * 1024
"""Larger caption tables are refused."""

MAX_TEXTS = 64
"""More prompts for one image are refused: the seeds are spread over them."""

_NAME_KEYS = ("file_name", "file", "path", "image")
_TEXT_KEYS = ("text", "caption", "prompt")


def read_table(path: Path, *, several: bool = False) -> dict[str, list[str]]:
    """A CSV or JSONL table of file names and texts: relative name to its texts, as they stand there.

    The name stands in `file_name` (or file, path, image), the text in `text` (or caption, prompt).
    several:  whether a name may have more than one line
    Raises InputError for another format, missing columns, a broken line, a name that occurs too often or that points
    outside the folder.
    """
    content = table_text(path)
    rows = json_lines(path.name, content) if path.suffix in {".jsonl", ".ndjson"} else csv_rows(path.name, content)
    texts: dict[str, list[str]] = {}
    for number, row in rows:
        where = f"{path.name}, line {number}"
        name, text = _first(row, _NAME_KEYS), _first(row, _TEXT_KEYS)
        if name in (None, "") or text is None:
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


def table_text(path: Path) -> str:
    """The text of a table, UTF-8 or UTF-16 by its mark. Raises InputError for another, or a file that is too large."""
    try:
        data = read_bounded(path, MAX_TABLE_BYTES)
    except InputError as error:
        raise InputError(f"the table {format_path(path)!r} {error}") from error
    encoding = "utf-16" if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(f"{format_path(path)!r} cannot be read as UTF-8 text: {error}") from error


def _first(row: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((row[key] for key in keys if row.get(key) is not None), None)


def _leaves_folder(name: str) -> bool:
    windows = PureWindowsPath(name)
    return bool(windows.drive or windows.root) or ".." in windows.parts or PurePosixPath(name).is_absolute()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice in one object")
    return found


def json_lines(name: str, content: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Numbers of the lines and their objects. Raises InputError that names a line that is none."""
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{name}, line {number}: is not JSON ({error})") from error
        if not isinstance(row, dict):
            raise InputError(f"{name}, line {number}: expected a JSON object, but got {type(row).__name__}")
        yield number, row


def csv_rows(name: str, content: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Numbers of the lines on which rows end and their named cells. Raises InputError for what is not CSV."""
    # The limit is the process's; a table is bounded as a whole already.
    csv.field_size_limit(MAX_TABLE_BYTES)
    reader = csv.DictReader(io.StringIO(content, newline=""), strict=True)
    try:
        columns = [column for column in reader.fieldnames or () if column]
        if len(set(columns)) < len(columns):
            raise InputError(f"{name}: a column occurs twice: {columns[:20]}")
        for row in reader:
            yield reader.line_num, {key: value for key, value in row.items() if key}
    except csv.Error as error:
        raise InputError(f"{name}, line {reader.line_num}: is not CSV ({error})") from error


def _normal(name: str) -> str:
    # Some systems store é as two characters and some as one; people type what they see.
    return unicodedata.normalize("NFC", name)


def assign_texts(
    table: Mapping[str, list[str]], name: str, folder: Path, images: Sequence[Path], *, strict: bool = False
) -> tuple[dict[Path, list[str]], list[str]]:
    """Which image each line of a table belongs to, and remarks on lines that belong to none.

    A name is a path within the folder, or the bare name of a single image anywhere in it.
    name:    of the table, for messages
    strict:  whether a table without a single fitting name is an error
    Raises InputError then.
    """
    exact = {path.relative_to(folder).as_posix(): path for path in images}
    loose: defaultdict[str, set[Path]] = defaultdict(set)
    for relative, path in exact.items():
        loose[_normal(relative)].add(path)
        loose[_normal(path.name)].add(path)
    found: dict[Path, list[str]] = {}
    unknown, ambiguous = [], []
    for given in sorted(table, key=lambda key: key in exact):
        fitting = {exact[given]} if given in exact else loose.get(_normal(given.replace("\\", "/")), set())
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
            f"(first: {next(iter(table))[:200]!r})"
        )
    remarks = []
    if unknown:
        remarks.append(f"{name}: {len(unknown)} of {len(table)} names are no image here (first: {unknown[0][:200]!r})")
    if ambiguous:
        remarks.append(
            f"{name}: {len(ambiguous)} of {len(table)} names fit several images and were not used "
            f"(first: {ambiguous[0][:200]!r}); give the path within the folder"
        )
    return found, remarks

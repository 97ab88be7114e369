"""Captions and prompts that belong to targets: sidecars, metadata tables, and files given on the command line."""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from imgaudit.exceptions import InputError

MAX_CHARACTERS = 4000
"""Longer captions are cut here; every text encoder sees far less."""

MAX_TABLE_BYTES = 256 * 1024 * 1024
"""Larger caption tables are refused."""

_NAME_KEYS = ("file_name", "file", "path", "image")
_TEXT_KEYS = ("text", "caption", "prompt")


def clean_text(text: str) -> str:
    """One line without control characters, white space folded, cut at MAX_CHARACTERS.

    >>> clean_text("a\\x1b[31m  b\\n")
    'a[31m b'
    """
    kept = "".join(character if character.isprintable() else " " for character in text.replace("\x1b", ""))
    return " ".join(kept.split())[:MAX_CHARACTERS]


MAX_TEXTS = 64
"""More prompts for one image are refused: the seeds are spread over them."""


def read_table(path: Path, *, several: bool = False) -> dict[str, list[str]]:
    """A CSV or JSONL table of file names and texts: relative name to its texts.

    The name stands in `file_name` (or file, path, image), the text in `text` (or caption, prompt).
    several:  whether a name may have more than one line
    Raises InputError for another format, missing columns, a broken line or a name that occurs too often.
    """
    try:
        if path.stat().st_size > MAX_TABLE_BYTES:
            raise InputError(f"{path.name!r} is larger than {MAX_TABLE_BYTES:,} bytes")
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{str(path)!r} cannot be read as UTF-8 text: {error}") from error
    rows = _json_lines(path.name, content) if path.suffix in {".jsonl", ".ndjson"} else _csv_rows(path.name, content)
    texts: dict[str, list[str]] = {}
    for number, row in rows:
        name = next((str(row[key]) for key in _NAME_KEYS if row.get(key)), None)
        text = next((str(row[key]) for key in _TEXT_KEYS if row.get(key) is not None), None)
        if name is None or text is None:
            raise InputError(
                f"{path.name}, line {number}: expected a name in one of {_NAME_KEYS} and a text in one of "
                f"{_TEXT_KEYS}, but found the columns {sorted(map(str, row))}"
            )
        if name in texts and not several:
            raise InputError(f"{path.name}, line {number}: {name!r} occurs twice")
        own = texts.setdefault(name, [])
        own.append(text)
        if len(own) > MAX_TEXTS:
            raise InputError(f"{path.name}, line {number}: {name!r} has more than {MAX_TEXTS} texts")
    return texts


def _json_lines(name: str, content: str) -> Iterator[tuple[int, Mapping[str, object]]]:
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{name}, line {number}: is not JSON ({error})") from error
        if not isinstance(row, dict):
            raise InputError(f"{name}, line {number}: expected a JSON object, but got {type(row).__name__}")
        yield number, row


def _csv_rows(name: str, content: str) -> Iterator[tuple[int, Mapping[str, object]]]:
    reader = csv.DictReader(content.splitlines())
    try:
        for row in reader:
            yield reader.line_num, {key: value for key, value in row.items() if key}
    except csv.Error as error:
        raise InputError(f"{name}, line {reader.line_num}: is not CSV ({error})") from error


class CaptionSource:
    """Looks up the texts of a target: an explicit table, then a sidecar .txt, then the folder's metadata table."""

    def __init__(self, folder: Path, table: Path | None = None, *, sidecars: bool = True) -> None:
        """table: what --captions or --prompts names; sidecars: whether texts lying beside the images are used.

        Without sidecars the table holds prompts, of which an image may have several.
        """
        self.folder = folder
        self.sidecars = sidecars
        self.explicit = read_table(table, several=not sidecars) if table is not None else {}
        self.metadata: dict[str, list[str]] = {}
        for name in ("metadata.jsonl", "metadata.csv"):
            if sidecars and (folder / name).is_file():
                self.metadata = read_table(folder / name)
                break

    def find(self, path: Path) -> list[str]:
        """The texts of one image, cleaned, without repetition; none when there are none."""
        relative = path.relative_to(self.folder).as_posix()
        for table in (self.explicit, self.metadata):
            if (texts := table.get(relative, table.get(path.name))) is not None:
                return [text for text in dict.fromkeys(map(clean_text, texts)) if text]
            sidecar = path.with_suffix(".txt")
            if table is self.explicit and self.sidecars and sidecar.is_file() and not sidecar.is_symlink():
                try:
                    with sidecar.open("rb") as file:
                        text = clean_text(file.read(4 * MAX_CHARACTERS).decode("utf-8", errors="replace"))
                except OSError:
                    continue
                return [text] if text else []
        return []

"""What is handed on to others: it names no folder of this machine, and no cell of a table runs as a formula."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from imgaudit.schema.records import Skipped
from imgaudit.schema.text import file_name, printable

FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Characters that make a spreadsheet run a cell; the wide forms where Chinese, Japanese or Korean is typed."""


def csv_cell(value: object) -> str:
    """Format a CSV cell so that a spreadsheet does not run it: text that looks like a formula gets a leading quote."""
    if isinstance(value, Skipped):
        return f"skipped: {value.skipped}"
    text = format(value, ".6g") if isinstance(value, float) else printable(str(value))
    return "'" + text if isinstance(value, str) and text.lstrip().startswith(FORMULA_STARTS) else text


def without_folders(value: Any, folders: Sequence[str]) -> Any:
    """Remove folders from the strings of a JSON value: known ones are cut out, absolute paths keep their last part.

    folders:  from `folders_of`

    >>> without_folders(["audit", "/home/ann/art", "--out=/tmp/run", "seen in /home/ann/art/a.png"], ["/home/ann/art/"])
    ['audit', 'art', '--out=run', 'seen in a.png']
    """
    if isinstance(value, dict):
        return {_text(key, folders): without_folders(one, folders) for key, one in value.items()}
    if isinstance(value, list):
        return [without_folders(one, folders) for one in value]
    return _text(value, folders) if isinstance(value, str) else value


def folders_of(paths: Iterable[str]) -> list[str]:
    """List every absolute folder that holds one of the files, longest first, so that a folder comes before its parent.

    >>> folders_of(["/home/ann/art/a.png", "b.png"])
    ['/home/ann/art/']
    """
    return sorted(set(_folders(paths)), key=lambda folder: (-len(folder), folder))


def _folders(paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        name = file_name(path)
        folder = path[: len(path) - len(name)]
        if _is_absolute(path) and len(folder) > 1:
            yield folder


def _text(text: str, folders: Sequence[str]) -> str:
    for folder in folders:
        # The folder alone is an absolute path, and becomes its last part below.
        if text not in (folder, folder[:-1]):
            text = text.replace(folder, "")
    option, equals, path = text.partition("=")
    if option.startswith("--") and _is_absolute(path):
        return option + equals + _last(path)
    return _last(text) if _is_absolute(text) else text


def _last(path: str) -> str:
    return file_name(path.rstrip("/\\")) or "/"


def _is_absolute(path: str) -> bool:
    return path.startswith("~") or PurePosixPath(path).is_absolute() or PureWindowsPath(path).is_absolute()

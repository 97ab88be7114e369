"""Folders that imgaudit wrote: what is in them is no picture of the owner's, wherever they lie."""

import json
from collections.abc import Collection
from pathlib import Path

from imgaudit.exceptions import InputError, RunFolderError
from imgaudit.io.reading import open_regular, read_bounded

MAX_MARKER_BYTES = 256 * 1024 * 1024
"""Larger files are not looked into."""

FIRST_LINES = 4096
"""Bytes of a page that are looked at."""

_PAGE = b"base-uri 'none'; form-action 'none'"
"""Part of the first lines of every page that imgaudit writes, and of hardly any other."""

_PAGES = ("index.html", "complaint.html")


def name_own_output(folder: Path, names: Collection[str]) -> str:
    """Return in words what imgaudit wrote a folder as; empty for a folder that it did not write.

    names:  of the entries of the folder

    A name alone decides nothing: other programs have a manifest.json too, so that file is opened.
    """
    if "manifest.json" in names:
        keys = _read_keys(folder / "manifest.json")
        if {"command", "model", "versions", "started"} <= keys:
            return "a run of imgaudit"
        if {"format", "descriptor", "shards", "sources"} <= keys:
            return "a collection of imgaudit index"
    if "match.json" in names and {"images_folder", "decoys", "thresholds"} <= _read_keys(folder / "match.json"):
        return "a result of imgaudit match"
    if any(name in names and _is_page(folder / name) for name in _PAGES):
        return "a report or complaint of imgaudit"
    return ""


def _read_keys(path: Path) -> set[str]:
    try:
        found = json.loads(read_bounded(path, MAX_MARKER_BYTES, follow_links=False))
    except (InputError, ValueError, RecursionError):
        return set()
    return set(found) if isinstance(found, dict) else set()


def _is_page(path: Path) -> bool:
    try:
        with open_regular(path, follow_links=False) as file:
            return _PAGE in file.read(FIRST_LINES)
    except (RunFolderError, OSError):
        return False

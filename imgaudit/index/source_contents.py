"""The digests of a source's files when a collection read them: by these a file with another time is known again.

They lie in the collection's folder `states`, one line per file: its name in the source, and its SHA-256. A line may
come twice, after a kill; collections of older versions have none.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from imgaudit.exceptions import ImgauditError, InputError
from imgaudit.io.reading import hash_file, read_bounded
from imgaudit.io.writing import append_bytes

MAX_CONTENTS_BYTES = 2 * 1024 * 1024 * 1024
"""Larger files of digests are not read; ten million files fit."""


def contents_path(states: Path, digest: str) -> Path:
    """Return the file of a source's digests.

    states:  the collection's folder for them
    digest:  by which the manifest knows the state of the source
    """
    return states / f"{digest}.contents.jsonl"


def keep_contents(path: Path, contents: Iterable[tuple[str, str]]) -> None:
    """Append names and digests of files; those without a digest, which could not be read, are left out."""
    lines = "".join(f"{json.dumps(one)}\n" for one in contents if one[1])
    if lines:
        path.parent.mkdir(parents=True, exist_ok=True)
        append_bytes(path, lines.encode("ascii"))


def read_contents(path: Path) -> dict[str, str]:
    """Return the digest of every file that was read, by name; none where they were not kept."""
    try:
        lines = read_bounded(path, MAX_CONTENTS_BYTES, follow_links=False).splitlines()
    except InputError:
        return {}
    contents = {}
    for line in lines:
        try:
            name, digest = json.loads(line)
        except (ValueError, TypeError, RecursionError):
            # A kill left half a line: its file counts as one whose content is not known.
            continue
        contents[str(name)] = str(digest)
    return contents


def has_content(path: Path, digest: str | None) -> bool:
    """Return whether a file has the content of this digest; False where either is not known."""
    if not digest or path.is_symlink():
        return False
    try:
        return hash_file(path) == digest
    except (OSError, ImgauditError):
        return False

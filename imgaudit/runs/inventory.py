"""The files of a run as they are on disk, listed before any of them is opened: links and the like are named."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imgaudit.io.reading import format_path

MAX_ENTRIES = 4_000_000
"""Files and folders that are listed: a run of some hundred thousand images."""

MAX_DEPTH = 8
"""Folders above a file, counted from the run; imgaudit writes at most three."""

MAX_REFUSED = 20
"""Entries that are named when they are refused; a hostile folder can hold any number."""

HISTORY_LOCK = ".history-lock"
"""Lock file of history.jsonl."""

LOCKS = frozenset({".lock", ".lock-holder", "review/.lock", HISTORY_LOCK})
"""Files that say which process holds the run: no part of it."""

ATTESTATIONS = "attestations"
"""Folder of signatures and timestamps, which are made over evidence.json and so come after it."""


@dataclass(frozen=True)
class Inventory:
    """What a run folder holds, without lock files and attestations."""

    files: dict[str, int]
    """Bytes of every regular file by its path inside the run, in order of path."""
    refused: tuple[str, ...]
    """What is no regular file and no folder, and what was not listed, in words; each names its path."""


def list_run(folder: Path) -> Inventory:
    """List a run folder without opening a file or following a link."""
    files, refused = dict[str, int](), list[str]()
    for number, (name, status) in enumerate(_walk(folder, refused), start=1):
        if number > MAX_ENTRIES:
            refused.append(f"the folder holds more than {MAX_ENTRIES:,} files: the others were not looked at")
            break
        if stat.S_ISREG(status.st_mode):
            if name not in LOCKS:
                files[name] = status.st_size
        elif not stat.S_ISDIR(status.st_mode):
            refused.append(f"{name!r:.200} is {_kind(status.st_mode)}: a run holds files and folders only; remove it")
        if len(refused) >= MAX_REFUSED:
            refused.append("more of its entries are refused: the others were not looked at")
            break
    return Inventory({name: files[name] for name in sorted(files)}, tuple(refused))


def _walk(folder: Path, refused: list[str]) -> Iterator[tuple[str, os.stat_result]]:
    """Yield path and status of every entry, links unfollowed; what cannot be listed goes to `refused`."""
    waiting = [(folder, "", 0)]
    while waiting:
        place, prefix, depth = waiting.pop()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    name = prefix + entry.name
                    if format_path(name) != name:
                        refused.append(f"{format_path(name)!r:.200} has a name that is not UTF-8: remove it")
                        continue
                    if name == ATTESTATIONS and entry.is_dir(follow_symlinks=False):
                        continue
                    status = entry.stat(follow_symlinks=False)
                    yield name, status
                    if stat.S_ISDIR(status.st_mode):
                        if depth == MAX_DEPTH:
                            refused.append(f"{name!r:.200} lies deeper than a run's folders: remove it")
                        else:
                            waiting.append((place / entry.name, f"{name}/", depth + 1))
        except OSError as error:
            refused.append(f"{prefix or str(folder)!r:.200} cannot be listed: {error.strerror}")


def _kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a link"
    if stat.S_ISFIFO(mode):
        return "a FIFO"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"

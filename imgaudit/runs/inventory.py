"""The files of a run as they are on disk, listed before any of them is opened: links and the like are named."""

import os
import stat
from array import array
from bisect import bisect_left
from collections.abc import ItemsView, Iterable, Iterator, Mapping
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


class FileSizes(Mapping[str, int]):
    """Bytes of files by their paths, in order of path.

    A large run has millions of files, so one takes 16 bytes of memory beyond its path; in a dict, more than 200.
    """

    def __init__(self, files: Iterable[tuple[str, int]]) -> None:
        # Paths in UTF-8 are in the same order as paths as text, and none has a zero byte in it.
        entries = [path.encode() + b"\0" + size.to_bytes(8, "big") for path, size in files]
        entries.sort()
        self._sizes = array("Q", (int.from_bytes(entry[-8:], "big") for entry in entries))
        self._ends, self._paths = array("Q"), bytearray()
        for entry in entries:
            self._paths += entry[:-9]
            self._ends.append(len(self._paths))

    def __getitem__(self, path: str) -> int:
        place = self.place(path)
        if place is None:
            raise KeyError(path)
        return self._sizes[place]

    def __iter__(self) -> Iterator[str]:
        return (self._path(place).decode() for place in range(len(self)))

    def __len__(self) -> int:
        return len(self._ends)

    def items(self) -> ItemsView[str, int]:
        """Return paths and bytes, of which none is searched for."""
        return _FilePairs(self)

    def place(self, path: str) -> int | None:
        """Return the number of a file in the order of paths; None for one that is not there."""
        wanted = path.encode("utf-8", "surrogatepass")
        place = bisect_left(range(len(self)), wanted, key=self._path)
        return place if place < len(self) and self._path(place) == wanted else None

    def _path(self, place: int) -> bytes:
        return bytes(self._paths[self._ends[place - 1] if place else 0 : self._ends[place]])


class _FilePairs(ItemsView[str, int]):
    _mapping: FileSizes

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return zip(self._mapping, self._mapping._sizes, strict=True)


@dataclass(frozen=True)
class Inventory:
    """What a run folder holds, without lock files and attestations."""

    files: FileSizes
    """Bytes of every regular file by its path inside the run, in order of path."""
    refused: tuple[str, ...]
    """What is no regular file and no folder, and what was not listed, in words; each names its path."""


def list_run(folder: Path) -> Inventory:
    """List a run folder without opening a file or following a link."""
    refused = list[str]()
    files = FileSizes(_regular_files(folder, refused))
    return Inventory(files, tuple(refused))


def _regular_files(folder: Path, refused: list[str]) -> Iterator[tuple[str, int]]:
    """Yield path and bytes of every regular file that is part of the run; everything else goes to `refused`."""
    for number, (name, status) in enumerate(_walk(folder, refused), start=1):
        if number > MAX_ENTRIES:
            refused.append(f"the folder holds more than {MAX_ENTRIES:,} files: the others were not looked at")
            break
        if stat.S_ISREG(status.st_mode):
            if name not in LOCKS:
                yield name, status.st_size
        elif not stat.S_ISDIR(status.st_mode):
            refused.append(f"{name!r:.200} is {_kind(status.st_mode)}: a run holds files and folders only; remove it")
        if len(refused) >= MAX_REFUSED:
            refused.append("more of its entries are refused: the others were not looked at")
            break


def _walk(folder: Path, refused: list[str]) -> Iterator[tuple[str, os.stat_result]]:
    """Yield path and status of every entry, links unfollowed; what cannot be listed goes to `refused`."""
    waiting = [("", 0)]
    while waiting:
        prefix, depth = waiting.pop()
        try:
            with os.scandir(folder / prefix) as entries:
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
                            waiting.append((f"{name}/", depth + 1))
        except OSError as error:
            refused.append(f"{prefix or str(folder)!r:.200} cannot be listed: {error.strerror}")


def _kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a link"
    if stat.S_ISFIFO(mode):
        return "a FIFO"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"

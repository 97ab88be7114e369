"""Where attestations lie: RUN/attestations/ for a run, beside a file for anything else. Read without trusting them.

NAME.dsse.json is a signature, NAME.tsq a request for a timestamp of NAME, NAME.tsr the answer; NAME.2.tsr, NAME.3.tsr
and so on are further answers to the same request.
"""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imgaudit.exceptions import InputError, RunFolderError
from imgaudit.io.containment import make_folder
from imgaudit.io.new_file import write_new
from imgaudit.io.reading import read_bounded
from imgaudit.runs.folder import RunFolder

FOLDER = "attestations"
ENVELOPE, REQUEST, RESPONSE = ".dsse.json", ".tsq", ".tsr"
MAX_FILES = 200
MAX_BYTES = 2**20
"""Size of a signature, a request or a response that is read."""
ATTESTED = ("evidence.json", "seal.json")
"""Files of a run that can be signed or stamped; evidence.json covers all others."""

_ANSWER = re.compile(r"(?P<name>.+?)(?:\.(?P<number>[2-9]|[1-9][0-9]))?\.tsr")
_ENDING = re.compile(r"(\.\d+)?\.dsse\.json|(\.dsse\.json)?(\.tsq|(\.\d+)?\.tsr)")


@dataclass(frozen=True)
class Place:
    """A folder of attestations and the file or run that they are about."""

    folder: Path
    """Folder that holds them."""
    run: RunFolder | None = None
    """The run that they are about, if any."""
    only: str = ""
    """Name of the file that they are about; empty for those of a run."""

    @classmethod
    def of_run(cls, run: RunFolder) -> "Place":
        """Return the place of a run's attestations. Raises RunFolderError when it is not a folder of its own."""
        folder = run.path / FOLDER
        try:
            mode = folder.lstat().st_mode
        except FileNotFoundError:
            return cls(folder, run)
        if not stat.S_ISDIR(mode):
            raise RunFolderError(f"{str(folder)!r} is not a folder but a link or a file: nothing in it is read")
        return cls(folder, run)

    @classmethod
    def of_path(cls, path: Path) -> "Place":
        """Return the place for a run folder or a file. Raises InputError for what can be neither signed nor stamped."""
        if path.is_dir():
            run = RunFolder(path)
            if not run.manifest_path.is_file():
                raise InputError(f"{str(path)!r} is not a run folder: it has no manifest.json")
            return cls.of_run(run)
        if not path.is_file():
            raise InputError(f"there is no file or run folder {str(path)!r}")
        holder = _run_around(path)
        if holder is None:
            return cls(path.parent, only=path.name)
        place = cls.of_run(RunFolder(holder))
        inside = path.resolve().relative_to(holder.resolve()).as_posix()
        if inside in ATTESTED or (inside.startswith(f"{FOLDER}/") and inside.endswith(ENVELOPE)):
            return place
        raise InputError(
            f"{str(path)!r} belongs to the run {str(holder)!r}, whose evidence.json covers it: give the run folder"
        )

    def target(self, name: str) -> Path | None:
        """Return the file that a signature or timestamp of this name is about; None when there is none."""
        if self.only:
            return self.folder / name if name in (self.only, self.only + ENVELOPE) else None
        if self.run is not None and name in ATTESTED:
            return self.run.path / name
        return self.folder / name if name.endswith(ENVELOPE) and "/" not in name else None

    def names(self) -> list[str]:
        """Return the names of all attestations, sorted. Raises RunFolderError when there are too many of them."""
        if not self.folder.is_dir():
            return []
        names = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if not self.only or entry.name.startswith(f"{self.only}."):
                    names.append(entry.name)
                if len(names) > MAX_FILES:
                    raise RunFolderError(f"{str(self.folder)!r} holds more than {MAX_FILES} files; they are not read")
        return sorted(names)

    def envelopes(self) -> list[str]:
        """Return the names of the signatures."""
        return [name for name in self.names() if name.endswith(ENVELOPE)]

    def requests(self) -> list[str]:
        """Return the names of the requests for a timestamp."""
        return [name for name in self.names() if name.endswith(REQUEST)]

    def responses(self) -> Iterator[tuple[str, str]]:
        """Yield the name of each timestamp with the name of what it is about."""
        for name in self.names():
            if found := _ANSWER.fullmatch(name):
                yield name, found["name"]

    def strangers(self) -> list[str]:
        """Return the names of what lies among a run's attestations and is none; nothing covers it."""
        known = {*self.envelopes(), *self.requests(), *(name for name, _ in self.responses())}
        return [] if self.only else [name for name in self.names() if name not in known]

    def read(self, name: str) -> bytes:
        """Return the content of an attestation. Raises InputError, whose message completes "the file ..."."""
        return read_bounded(self.folder / name, MAX_BYTES, follow_links=False)

    def write(self, name: str, data: bytes) -> Path:
        """Write a new attestation. Raises InputError when there is one of this name."""
        if self.run is not None:
            make_folder(self.folder)
        write_new(self.folder / name, data)
        return self.folder / name

    def write_numbered(self, stem: str, ending: str, data: bytes) -> Path:
        """Write a new attestation as STEM, STEM.2, STEM.3 and so on; return the file of the same content if any."""
        taken = set(self.names())
        for number in range(1, 100):
            name = f"{stem}{ending}" if number == 1 else f"{stem}.{number}{ending}"
            if name not in taken:
                return self.write(name, data)
            if self.read(name) == data:
                return self.folder / name
        raise InputError(f"{str(self.folder)!r} holds 99 files {stem}*{ending} already")


def copy_attestations(file: Path, run: RunFolder, name: str) -> list[Path]:
    """Copy what attests a file into a run that holds a copy of it: its signature, request and timestamps.

    file:  the file as it was given, with its attestations beside it
    name:  name of its copy in the run, such as "seal.json"
    Returns the copies. Files that are there already with the same content are left as they are.
    Raises InputError when one is there with other content, or cannot be read.
    """
    beside, place = Place(file.parent, only=file.name), Place.of_run(run)
    copies = []
    for one in beside.names():
        ending = one.removeprefix(file.name)
        if not _ENDING.fullmatch(ending):
            continue
        data = beside.read(one)
        if name + ending in place.names() and place.read(name + ending) == data:
            continue
        copies.append(place.write(name + ending, data))
    return copies


def _run_around(path: Path) -> Path | None:
    """Return the run folder that a file lies in."""
    for folder in path.resolve().parents:
        if (folder / "manifest.json").is_file():
            return folder
    return None

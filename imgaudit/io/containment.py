"""Folders whose inside is not trusted: below one, nothing is read, written or deleted through a link.

A run folder can come from somebody else. A link in it, such as `report` pointing to another folder, would make imgaudit
overwrite files outside. So every folder of a run is named to `contain` once, and every function of imgaudit.io that
opens a path walks from that folder to the file one name at a time, without following links. The folder itself, and
everything above it, may be a link: the user named it.

Where the system opens files relative to an open folder (Linux, macOS), each step holds the folder before, so that
nobody can swap a folder for a link in between. Elsewhere (Windows) each step is looked at first and opened afterwards:
a program that is running with this user's rights at the same moment could still swap it. Hard links look like any other
file; a file with several names is refused only where its content would be changed in place.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from imgaudit.exceptions import RunFolderError

NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)

PLAIN = (
    getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
)
"""Flags of every file: opening a FIFO would block for ever; O_NONBLOCK lets fstat refuse it instead."""

FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)

BY_DESCRIPTOR = {os.open, os.mkdir, os.stat, os.unlink, os.rename} <= os.supports_dir_fd
"""Whether this system opens files relative to an open folder."""

_FOLDERS: dict[tuple[str, ...], Path] = {}
"""The contained folders by the parts of their absolute paths."""


def contain(folder: Path) -> None:
    """From now on, refuse every link below a folder. It stays so until the process ends."""
    _FOLDERS[_parts(folder)] = folder.absolute()


def _parts(path: Path) -> tuple[str, ...]:
    """Return the names on an absolute path, in one case where the system does not tell cases apart."""
    return tuple(map(os.path.normcase, path.absolute().parts))


def contained_folders() -> list[Path]:
    """Return the folders that were named to `contain`, for a process of its own that must know them too."""
    return sorted(_FOLDERS.values())


def find_container(path: Path) -> Path | None:
    """Return the outermost contained folder that a path lies in; None where it lies in none.

    Raises RunFolderError for a path that has ".." in it below that folder, since it could lead through a link.
    """
    parts = _parts(path)
    # Tuples of names are compared here, not paths: this is asked for every file of a run.
    for length in sorted({len(one) for one in _FOLDERS}):
        if length < len(parts) and (folder := _FOLDERS.get(parts[:length])) is not None:
            below = parts[length:]
            if below[0] == "..":
                continue
            if ".." in below:
                raise RunFolderError(f"{str(path)!r} has '..' in it: give the path without")
            return folder
    return None


@dataclass(frozen=True)
class OpenFolder:
    """A folder in which files are reached by their names alone."""

    path: Path
    """Path of the folder."""
    descriptor: int | None
    """The open folder; None where the system cannot use one."""

    def open(self, name: str, flags: int, mode: int = 0o666) -> int:
        """Open a file of the folder without following a link. Raises RunFolderError for a link, else OSError."""
        if not NO_FOLLOW and _is_link(self.path / name):
            raise _link(self.path / name)
        try:
            return os.open(self.place(name), flags | PLAIN | NO_FOLLOW, mode, dir_fd=self.descriptor)
        except OSError as error:
            raise self._explain(name, error) from error

    def status(self, name: str) -> os.stat_result:
        """Return the status of an entry itself, also of a link. Raises OSError where there is none."""
        return os.stat(self.place(name), dir_fd=self.descriptor, follow_symlinks=False)

    def set_time(self, name: str, time: int) -> None:
        """Set when a file was changed, in nanoseconds."""
        if os.utime in os.supports_follow_symlinks:
            os.utime(self.place(name), ns=(time, time), dir_fd=self.descriptor, follow_symlinks=False)
        else:
            os.utime(self.place(name), ns=(time, time))

    def replace(self, name: str, new: str) -> None:
        """Give a file a new name, in the place of what has that name."""
        if self.descriptor is None:
            (self.path / name).replace(self.path / new)
        else:
            os.rename(name, new, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def remove(self, name: str) -> None:
        """Remove a file, or a link itself, where there is one."""
        with suppress(FileNotFoundError):
            os.unlink(self.place(name), dir_fd=self.descriptor)

    def place(self, name: str) -> str:
        """Return an entry's name for a function of `os` or `shutil` that takes `descriptor` as its dir_fd."""
        return name if self.descriptor is not None else str(self.path / name)

    def _holds(self, name: str) -> bool:
        try:
            self.status(name)
        except FileNotFoundError:
            return False
        return True

    def _enter(self, name: str, *, make: bool) -> "OpenFolder":
        """Open a folder of this one, and close this one."""
        try:
            if make and not self._holds(name):
                with suppress(FileExistsError):
                    os.mkdir(self.place(name), dir_fd=self.descriptor)
            if self.descriptor is None:
                mode = self.status(name).st_mode
                if not stat.S_ISDIR(mode) or _is_link(self.path / name):
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(self.path / name))
                return OpenFolder(self.path / name, None)
            inside = os.open(name, FOLDER | NO_FOLLOW, dir_fd=self.descriptor)
            return OpenFolder(self.path / name, inside)
        except OSError as error:
            raise self._explain(name, error) from error
        finally:
            self.close()

    def _explain(self, name: str, error: OSError) -> Exception:
        """Return what to raise for an error: the system's message for a link differs between systems."""
        path = self.path / name
        if _is_link(path):
            return _link(path)
        if isinstance(error, NotADirectoryError):
            return RunFolderError(f"{str(path)!r} must be a folder; remove it")
        # The descriptor's system knows the bare name alone; the message needs the path.
        error.filename = str(path)
        return error

    def close(self) -> None:
        """Close the folder."""
        if self.descriptor is not None:
            os.close(self.descriptor)


@contextmanager
def open_parent(path: Path, *, make: bool = False) -> Iterator[OpenFolder]:
    """Open the folder of a file without following a link below the contained folder that it lies in.

    make:  make the folders that are not there
    Raises RunFolderError that names the link, or what is there in the place of a folder, OSError where there is none.
    """
    absolute = path.absolute()
    start = find_container(path) or absolute.parent
    if make and not start.is_dir():
        start.mkdir(parents=True, exist_ok=True)
    folder = OpenFolder(start, os.open(start, FOLDER) if BY_DESCRIPTOR else None)
    for name in absolute.parts[len(start.parts) : -1]:
        folder = folder._enter(name, make=make)
    try:
        yield folder
    finally:
        folder.close()


def open_folder(path: Path, *, make: bool = False) -> AbstractContextManager[OpenFolder]:
    """Open a folder as `open_parent` opens that of a file."""
    return open_parent(path / "file", make=make)


def require_plain(folder: Path, largest: int | None = None) -> None:
    """Look through a folder and refuse everything in it but folders and regular files, before anything is opened.

    largest:  bytes that a file may have at most; None for any number
    Raises RunFolderError that names the first link, FIFO, socket, device or larger file. What cannot be listed is
    passed over.
    """
    for parent, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(parent, name)
            if _is_link(path):
                raise _link(path)
        for name in names:
            with suppress(FileNotFoundError):
                path = Path(parent, name)
                status = path.lstat()
                if not stat.S_ISREG(status.st_mode):
                    raise RunFolderError(f"{str(path)!r} is not a regular file: remove it")
                if largest is not None and status.st_size > largest:
                    raise RunFolderError(
                        f"{str(path)!r} has {status.st_size:,} bytes; no file of a run has more than {largest:,}: "
                        "remove it, or put the file of the run there again"
                    )


def make_folder(path: Path) -> None:
    """Make a folder and those above it, without following a link below a contained folder."""
    with open_folder(path, make=True):
        pass


def _is_link(path: Path) -> bool:
    """Return whether an entry is a symbolic link or, on Windows, anything else that stands for another place."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISLNK(status.st_mode) or bool(getattr(status, "st_reparse_tag", 0) & 0x20000000)


def _link(path: Path) -> RunFolderError:
    return RunFolderError(
        f"{str(path)!r} is a link, which could lead outside of the run folder: nothing was read or written; remove it, "
        "or put the file or folder itself there"
    )

"""A folder held by one process at a time."""

import os
import platform
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from imgaudit.exceptions import InputError, RunFolderError
from imgaudit.io.containment import contain, open_parent, require_plain
from imgaudit.io.provenance import utc_now
from imgaudit.io.reading import read_bounded
from imgaudit.io.writing import remove_file, remove_unfinished, write_atomically

MAX_HOLDER_BYTES = 1000


@contextmanager
def hold_folder(folder: Path, largest: int | None = None) -> Iterator[None]:
    """Make a folder and hold it for this process; from then on nothing below it is reached through a link.

    largest:  bytes that a file in it may have at most; None for any number
    Raises RunFolderError when another process holds it, and says which, or when there is a link in it, or anything
    else but folders and regular files.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise RunFolderError(f"{str(folder)!r} is a file; choose another --out for the run folder") from error
    contain(folder)
    require_plain(folder, largest)
    holder = folder / ".lock-holder"
    require_own_lock(folder / ".lock")
    # The operating system lets go of the lock when its holder dies, so a stale one cannot be.
    lock = filelock.FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise RunFolderError(
            f"{str(folder)!r} is being written by {_read_holder(holder)}; wait for it, or choose another --out"
        ) from error
    try:
        remove_unfinished(folder)
        who = f"process {os.getpid()} on {platform.node()} since {utc_now()}\n"
        write_atomically(holder, who, durable=False)
        yield
    finally:
        remove_file(holder)
        lock.release()


def require_own_lock(path: Path) -> None:
    """Refuse a lock file that is a link or no regular file. Raises RunFolderError that names it.

    filelock opens it again by its path; from 3.20.1 on it follows no link either, so nothing can be put there between.
    """
    with open_parent(path) as folder:
        try:
            status = folder.status(path.name)
        except FileNotFoundError:
            return
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        raise RunFolderError(f"{str(path)!r} must be a regular file of its own, and no link: remove it")


def _read_holder(path: Path) -> str:
    try:
        said = read_bounded(path, MAX_HOLDER_BYTES).decode("utf-8").strip()
        return said if said.isprintable() and said else "another process"
    except (InputError, UnicodeDecodeError):
        return "another process"

"""A folder held by one process at a time."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from imgaudit.exceptions import RunFolderError
from imgaudit.io.provenance import utc_now


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Make a folder and hold it for this process.

    Raises RunFolderError when another process holds it, and says which.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise RunFolderError(f"{str(folder)!r} is a file; choose another --out for the run folder") from error
    holder = folder / ".lock-holder"
    # The operating system lets go of the lock when its holder dies, so a stale one cannot be.
    lock = filelock.FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise RunFolderError(
            f"{str(folder)!r} is being written by {_read_holder(holder)}; wait for it, or choose another --out"
        ) from error
    try:
        holder.write_text(f"process {os.getpid()} on {platform.node()} since {utc_now()}\n", encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _read_holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip() or "another process"
    except (OSError, UnicodeDecodeError):
        return "another process"

"""Files that must not be there yet: created exclusively, following no link, with the access rights asked for."""

import os
from pathlib import Path

from imgaudit.exceptions import InputError
from imgaudit.io.containment import open_parent


def write_new(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a file that does not exist yet and wait until it is on disk; on failure nothing is left.

    mode:  access rights of the file; those that the process's mask forbids are left out
    Raises InputError when something of that name exists, a link included, and OSError when it cannot be written.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp(), "a.txt")
    >>> write_new(file, b"abc")
    >>> write_new(file, b"other")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    imgaudit.exceptions.InputError: '...a.txt' exists already, and is never overwritten; choose another name
    """
    with open_parent(path) as folder:
        try:
            descriptor = folder.open(path.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError as error:
            raise InputError(f"{str(path)!r} exists already, and is never overwritten; choose another name") from error
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            folder.remove(path.name)
            raise


def require_new_output(output: Path, run: Path) -> None:
    """Raise InputError for a place of --output that is taken already, or lies in the run folder."""
    if output.resolve().is_relative_to(run.resolve()):
        raise InputError(f"{str(output)!r} lies in the run, which is evidence; choose another --output")
    if output.exists() or output.is_symlink():
        raise InputError(f"{str(output)!r} exists already; remove it, or choose another --output")

"""Temporary files that can be as large as a run: where they go, and what is said when there is no room for them."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

ON_DISK = Path("/var/tmp")
"""Folder for large temporary files on Unix. On many systems /tmp is in memory, which such files would fill."""

CHOSEN_BY = ("TMPDIR", "TEMP", "TMP")
"""Environment variables by which a user chooses the folder."""


def find_scratch_folder() -> str:
    """Return the folder for large temporary files: the one that the user chose, else one on disk, else the system's.

    >>> Path(find_scratch_folder()).is_dir()
    True
    """
    chosen = any(os.environ.get(name) for name in CHOSEN_BY)
    if not chosen and ON_DISK.is_dir() and os.access(ON_DISK, os.W_OK | os.X_OK):
        return str(ON_DISK)
    return tempfile.gettempdir()


@contextmanager
def open_scratch_file() -> Iterator[IO[bytes]]:
    """Open a file without a name, which is gone when it is closed. Raises OSError that says what to do without room.

    >>> with open_scratch_file() as file:
    ...     file.write(b"four")
    4
    """
    folder = find_scratch_folder()
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            yield file
        except OSError as error:
            # Errors of files with a name say themselves which it is.
            if error.errno != errno.ENOSPC or error.filename is not None:
                raise
            said = "no space is left for temporary files: set TMPDIR to a folder that has more"
            raise OSError(errno.ENOSPC, said, folder) from error

"""A folder as one zip file: streamed, stored uncompressed, without times and owners."""

import os
import zipfile
from pathlib import Path

from imgaudit.exceptions import InputError

_BLOCK = 2**20


def write_zip(folder: Path, output: Path, top: str) -> None:
    """Write every file below a folder into a new zip file, under one top folder.

    Raises InputError when there is something of that name, and leaves nothing when it fails.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    try:
        with output.open("xb") as target, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
            for path in files:
                entry = zipfile.ZipInfo(f"{top}/{path.relative_to(folder).as_posix()}", (1980, 1, 1, 0, 0, 0))
                entry.external_attr = 0o644 << 16
                entry.create_system = 3
                entry.file_size = path.stat().st_size
                with path.open("rb") as source, archive.open(entry, "w") as sink:
                    while block := source.read(_BLOCK):
                        sink.write(block)
            target.flush()
            os.fsync(target.fileno())
    except FileExistsError as error:
        raise InputError(f"{str(output)!r} exists already; remove it, or choose another --output") from error
    except BaseException:
        output.unlink(missing_ok=True)
        raise

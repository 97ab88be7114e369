"""Thumbnails of a run's pictures: small, decoded and encoded anew, so that an index of thousands stays light.

Nearly all their time goes into decoding, so processes of their own make them, which import next to nothing.
"""

import io
import multiprocessing
import signal
import stat
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from itertools import starmap
from pathlib import Path

from PIL import Image

from imgaudit.exceptions import InputError
from imgaudit.io.containment import OpenFolder, contain, contained_folders, open_parent
from imgaudit.io.reading import read_within
from imgaudit.io.writing import MAX_PNG_BYTES, decode_png, remove_file, write_atomically

SIDE = 96
"""Pixels of the longer side at most."""

FEWEST = 200
"""Pictures from which on processes of their own pay."""

CHUNK = 50
"""Pictures that are handed to a process at once."""


def write_thumbnail(source: Path | None, destination: Path) -> bool:
    """Write a JPEG of a run's PNG; whether there was one: a picture can have been deleted, or be damaged.

    A thumbnail has the time of its picture and is not made again while that is the same.
    """
    try:
        if source is None:
            raise FileNotFoundError
        with open_parent(source) as folder:
            made = _time_of(folder, source.name)
            with suppress(FileNotFoundError), open_parent(destination) as other:
                if _time_of(other, destination.name) == made:
                    return True
            small = decode_png(read_within(folder, source.name, MAX_PNG_BYTES))
    except (OSError, InputError):
        remove_file(destination)
        return False
    small.thumbnail((SIDE, SIDE), Image.Resampling.BOX, reducing_gap=1.0)
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=88, subsampling=0)
    write_atomically(destination, buffer.getvalue(), durable=False, modified=made)
    return True


def _time_of(folder: OpenFolder, name: str) -> int:
    """Return when a regular file was changed, in nanoseconds. Raises FileNotFoundError for anything else."""
    status = folder.status(name)
    if not stat.S_ISREG(status.st_mode):
        raise FileNotFoundError
    return status.st_mtime_ns


@contextmanager
def write_thumbnails(
    pairs: Iterable[tuple[Path | None, Path]], processes: int = 1
) -> Iterator[Iterator[bool]]:  # fmt: skip
    """Write thumbnails, beside what the caller does meanwhile where there are many; for each whether there is one.

    pairs:      source, None where there is no picture, and destination
    processes:  that write them; 1 takes each pair and writes it when it is asked for
    """
    known = list(pairs) if processes > 1 else []
    if len(known) < FEWEST:
        yield starmap(write_thumbnail, known or pairs)
        return
    sources, destinations = [source for source, _ in known], [destination for _, destination in known]
    # Not forked: the caller may have threads, or a model on a device.
    context = multiprocessing.get_context("spawn")
    workers = min(processes, len(known) // CHUNK)
    pool = ProcessPoolExecutor(workers, context, initializer=_begin_process, initargs=(contained_folders(),))
    try:
        yield pool.map(write_thumbnail, sources, destinations, chunksize=CHUNK)
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_process(folders: Sequence[Path]) -> None:
    # Who interrupts a report interrupts the process that began this one, which then ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for folder in folders:
        contain(folder)

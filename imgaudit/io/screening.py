"""Screening: every file of a folder is opened once, before anything is measured, and none of its pixels are kept.

What was found is remembered between audits in a small database, by path, size and times, so that a second audit over a
large folder begins at once. It is only ever a short cut: before an image is measured its bytes are hashed again.
"""

import hashlib
import json
import os
import re
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import platformdirs
from PIL import Image
from pydantic import ValidationError

from imgaudit.exceptions import ImageError, InputError
from imgaudit.io.framing import frame_image
from imgaudit.io.images import MAX_BYTES, ImageFacts, load_image
from imgaudit.io.pdq_hash import hash_whole_image
from imgaudit.io.reading import read_bounded
from imgaudit.schema.protocol import Framing

THUMBNAIL_SIDE = 32
"""Side of the thumbnails by which near-duplicates are told."""

READER_VERSION = 5
"""Raised when reading an image changes what is known of it; remembered results of other versions are not used."""

WINDOW = 64
"""Files that are open or waiting to be handed on at any moment."""


@dataclass(frozen=True)
class Screened:
    """One file of a folder after its first look."""

    path: Path
    """Path of the file."""
    facts: ImageFacts | None
    """Properties of the image; None when it cannot be read."""
    thumbnail: bytes = b""
    """RGB, 32 x 32, framed; empty when none was asked for or it cannot be read."""
    pdq: str = ""
    """PDQ hash of the whole image; empty without a thumbnail, and where PDQ calls the image flat."""
    refused: str = ""
    """Reason that it cannot be read, completing "the file ..."."""
    sha256: str = ""
    """SHA-256 of the bytes of a refused file; empty where they cannot be read either."""


def make_thumbnail(pixels: Image.Image, framing: Framing) -> bytes:
    """Return the framed image at 32 x 32 as RGB bytes, row by row."""
    return frame_image(pixels, THUMBNAIL_SIDE, framing).tobytes()


def stack_thumbnails(thumbnails: Sequence[bytes]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Stack thumbnails into one array (N, 32, 32, 3) uint8."""
    shape = (len(thumbnails), THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3)
    return np.frombuffer(bytearray().join(thumbnails), np.uint8).reshape(shape)


def _name_reader() -> str:
    optional = (("pillow-heif", "pillow_heif"), ("rawpy", "rawpy"))
    extras = [metadata.version(name) if util.find_spec(module) else "" for name, module in optional]
    return " ".join([str(READER_VERSION), PIL.__version__, metadata.version("tifffile"), *extras])


def cache_path() -> Path:
    """The database in which screenings are remembered, in the user's cache folder."""
    return platformdirs.user_cache_path("imgaudit") / "screening.sqlite"


class ScreeningCache:
    """Screening results of earlier audits, in one SQLite file; any trouble with it means reading the images again."""

    def __init__(self, path: Path | None) -> None:
        """path: the database, or None to remember nothing."""
        self.problem = ""
        """Reason that nothing is remembered; empty while all is well."""
        self._reader = _name_reader()
        self._pending = 0
        self._database: sqlite3.Connection | None = None
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = self._open(path)
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)

    def _open(self, path: Path) -> sqlite3.Connection:
        try:
            return self._prepare(path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            # A damaged cache is worth nothing; the images are still there.
            path.unlink(missing_ok=True)
            return self._prepare(path)

    def _prepare(self, path: Path) -> sqlite3.Connection:
        database = sqlite3.connect(path, timeout=5)
        path.chmod(0o600)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        if database.execute("PRAGMA user_version").fetchone()[0] != READER_VERSION:
            # Other versions have other columns.
            database.execute("DROP TABLE IF EXISTS screened")
            database.execute(f"PRAGMA user_version = {READER_VERSION}")
        database.execute(
            "CREATE TABLE IF NOT EXISTS screened (path BLOB, framing TEXT, state TEXT, facts TEXT, thumbnail BLOB, "
            "pdq TEXT, PRIMARY KEY (path, framing)) WITHOUT ROWID"
        )
        return database

    def _give_up(self, error: Exception) -> None:
        self.problem = f"what was read is not remembered for the next audit: {error}"
        if self._database is not None:
            self._database.close()
        self._database = None

    def _state(self, status: os.stat_result) -> str:
        return json.dumps([status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, self._reader])

    def find(self, path: Path, framing: str, status: os.stat_result) -> Screened | None:
        """Return what is remembered of a file that has not changed since, or None."""
        if self._database is None:
            return None
        try:
            row = self._database.execute(
                "SELECT state, facts, thumbnail, pdq FROM screened WHERE path = ? AND framing = ?",
                (os.fsencode(path.absolute()), framing),
            ).fetchone()
            if row is None or row[0] != self._state(status):
                return None
            return Screened(path, ImageFacts.model_validate_json(row[1]), bytes(row[2]), _read_hash(row[3]))
        except (sqlite3.Error, ValidationError, TypeError) as error:
            self._give_up(error)
            return None

    def keep(self, screened: Screened, framing: str, status: os.stat_result) -> None:
        """Remember a file that could be read."""
        if self._database is None or screened.facts is None:
            return
        try:
            self._database.execute(
                "INSERT OR REPLACE INTO screened VALUES (?, ?, ?, ?, ?, ?)",
                (os.fsencode(screened.path.absolute()), framing, self._state(status),
                 screened.facts.model_dump_json(), screened.thumbnail, screened.pdq),
            )  # fmt: skip
            self._pending += 1
            if self._pending >= 256:
                self.commit()
        except sqlite3.Error as error:
            self._give_up(error)

    def commit(self) -> None:
        """Write what is pending."""
        self._pending = 0
        if self._database is None:
            return
        try:
            self._database.commit()
        except sqlite3.Error as error:
            self._give_up(error)

    def close(self) -> None:
        """Write what is pending and close the file."""
        self.commit()
        if self._database is not None:
            self._database.close()
            self._database = None


def _read_hash(value: Any) -> str:
    """Return a remembered hash. Raises TypeError for what is none, as anyone can write to the database."""
    if not isinstance(value, str) or (value and not re.fullmatch("[0-9a-f]{64}", value)):
        raise TypeError(f"expected a hash of 64 hexadecimal digits, but got {value!r:.80}")
    return value


def _read_one(path: Path, framing: Framing | None) -> Screened:
    try:
        image = load_image(path)
    except ImageError as error:
        return Screened(path, None, refused=str(error), sha256=_hash_refused(path))
    if framing is None:
        return Screened(path, image.facts)
    return Screened(path, image.facts, make_thumbnail(image.pixels, framing), hash_whole_image(image.pixels))


def _hash_refused(path: Path) -> str:
    """Return the SHA-256 of a file that is no usable image, so that a report can name it; empty where it has none."""
    try:
        return hashlib.sha256(read_bounded(path, MAX_BYTES, follow_links=False)).hexdigest()
    except InputError:
        return ""


def screen(
    paths: Sequence[Path],
    cache: ScreeningCache,
    *,
    framing: Framing | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Screened]:
    """Look at every file, in order; pixels of at most a few files are in memory at any moment.

    framing:  of the thumbnails; None for none
    """
    key = framing.value if framing is not None else ""
    workers = min(8, os.cpu_count() or 1)
    waiting: deque[tuple[os.stat_result | None, Future[Screened] | Screened]] = deque()
    done = 0

    def hand_on() -> Screened:
        nonlocal done
        status, one = waiting.popleft()
        if isinstance(one, Future):
            one = one.result()
            if status is not None:
                cache.keep(one, key, status)
        done += 1
        on_progress(done, len(paths))
        return one

    with ThreadPoolExecutor(workers) as pool:
        try:
            for path in paths:
                try:
                    status = path.lstat()
                except OSError:
                    status = None
                known = cache.find(path, key, status) if status is not None else None
                waiting.append((status, known or pool.submit(_read_one, path, framing)))
                if len(waiting) >= WINDOW:
                    yield hand_on()
            while waiting:
                yield hand_on()
        finally:
            for _, one in waiting:
                if isinstance(one, Future):
                    one.cancel()
            cache.commit()

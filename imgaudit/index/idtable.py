"""The names of a shard's vectors: ids and paths in one file that is mapped into memory, not read.

    16 bytes   magic
     8 bytes   number of rows, little-endian
     8 bytes   bytes of text
     text      id, path, id, path, ... in UTF-8, then zeros up to a multiple of 8
     offsets   2 x rows + 1 numbers of 8 bytes: where each string begins, and the end

Looking up a row touches a page or two, however many rows there are. Nothing in it is ever run.
"""

import mmap
import os
from array import array
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from imgaudit.exceptions import IndexRefusedError

MAGIC = b"imgaudit ids 1\n\0"
HEADER_BYTES = 32

LONGEST = 32_768
"""Bytes of one id or path."""

REBUILD = "build the collection again"
"""What to do where a file cannot be trusted."""


class Name(NamedTuple):
    """What a vector belongs to."""

    id: str
    path: str


def refused_name(text: str) -> str | None:
    """Why a string from outside may not be an id or a path, or None: nobody who opens it may be led out of a folder.

    >>> refused_name("photos/a.png")
    >>> refused_name("photos/../../etc/passwd")
    "contains '..' as a folder"
    """
    if "\0" in text:
        return "contains a zero byte"
    if ".." in text and ".." in text.replace("\\", "/").split("/"):
        return "contains '..' as a folder"
    if len(text.encode("utf-8", errors="surrogatepass")) > LONGEST:
        return f"is longer than {LONGEST:,} bytes"
    return None


class IdTableWriter:
    """Writes an id table row by row; complete once it is closed."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._file.write(bytes(HEADER_BYTES))
        self._offsets = array("Q", [0])
        self._end = 0

    def append(self, names: Iterable[Name]) -> None:
        """Add rows."""
        for name in names:
            for text in name:
                data = text.encode("utf-8")
                self._file.write(data)
                self._end += len(data)
                self._offsets.append(self._end)

    def close(self) -> None:
        """Write the offsets and the header, and wait until all is on disk."""
        self._file.write(bytes(-self._end % 8))
        self._file.write(np.frombuffer(self._offsets, np.uint64).astype("<u8").tobytes())
        self._file.seek(0)
        self._file.write(MAGIC + np.array([len(self._offsets) // 2, self._end], "<u8").tobytes())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        """Close the file as it is."""
        self._file.close()


class IdTable:
    """An id table on disk, mapped into memory."""

    def __init__(self, path: Path) -> None:
        """Raises IndexRefusedError when the file is not a whole id table."""
        self.path = path
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size < HEADER_BYTES + 8:
                    raise self._refused(f"is cut after {size} bytes")
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise self._refused(f"cannot be read: {error.strerror}") from error
        if self._map[:16] != MAGIC:
            raise self._refused("is something else")
        self.count, self._text = (int(value) for value in np.frombuffer(self._map, "<u8", 2, 16))
        start = HEADER_BYTES + self._text + -self._text % 8
        expected = start + 8 * (2 * self.count + 1)
        if size != expected:
            raise self._refused(f"has {size:,} bytes, but its header speaks of {expected:,}")
        self._offsets = np.frombuffer(self._map, "<u8", 2 * self.count + 1, start)

    def __len__(self) -> int:
        return self.count

    def check(self) -> None:
        """Look at every offset. Raises IndexRefusedError where they do not lie in order within the text."""
        for start in range(0, len(self._offsets) - 1, 1 << 20):
            part = self._offsets[start : start + (1 << 20) + 1]
            if (part[1:] < part[:-1]).any() or int(part[-1]) > self._text:
                raise self._refused("has offsets out of order")

    def names(self, rows: npt.NDArray[np.int64]) -> list[Name]:
        """Ids and paths of rows. Raises IndexRefusedError where a row is damaged or leads out of its folder."""
        first = 2 * rows.astype(np.int64)
        bounds = np.stack([self._offsets[first], self._offsets[first + 1], self._offsets[first + 2]]).T.tolist()
        data, found = self._map, []
        try:
            for start, middle, end in bounds:
                if not start <= middle <= end <= self._text:
                    raise self._refused("has offsets out of order")
                text = data[HEADER_BYTES + start : HEADER_BYTES + end]
                cut = middle - start
                name = Name(text[:cut].decode(), text[cut:].decode())
                if b".." in text:
                    self._check_name(name)
                found.append(name)
        except UnicodeDecodeError as error:
            raise self._refused("holds text that is not UTF-8") from error
        return found

    def _check_name(self, name: Name) -> None:
        for text in name:
            if reason := refused_name(text):
                raise self._refused(f"names {text[:200]!r}, which {reason}")

    def _refused(self, what: str) -> IndexRefusedError:
        return IndexRefusedError(f"the id table {str(self.path)!r} {what}; {REBUILD}")

    def close(self) -> None:
        """Let go of the file."""
        # The array holds the map open for as long as it lives.
        del self._offsets
        self._map.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

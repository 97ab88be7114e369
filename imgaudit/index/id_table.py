"""The names of a shard's vectors: ids and paths in one file that is mapped into memory.

    16 bytes   magic
     8 bytes   number of rows, little-endian
     8 bytes   bytes of text
     text      id, path, id, path, ... in UTF-8, then zeros up to a multiple of 8
     offsets   2 x rows + 1 numbers of 8 bytes: where each string begins, and the end

Looking up a row reads a page or two, however many rows there are. Texts and offsets lie as Arrow's large_string has
them, so Arrow looks rows up in the mapped file; it checks no offset, so those of the rows are checked here first.
"""

import mmap
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imgaudit.exceptions import IndexRefusedError
from imgaudit.index.names import Names, find_refusal_reason

MAGIC = b"imgaudit ids 1\n\0"
HEADER_BYTES = 32

OFFSET_BYTES = 8
"""Bytes of one offset."""

COPIED = 1 << 20
"""Bytes of offsets copied at a time."""

REBUILD = "build the collection again"
"""Advice for a file that cannot be trusted."""


class IdTableWriter:
    """Writes an id table, many rows at a time; it is complete once closed. Memory does not grow with the rows."""

    def __init__(self, path: Path) -> None:
        """Begin the table. Offsets are kept in a file beside it, which is deleted when it is closed."""
        self._file, self._offsets_path = path.open("wb"), path.with_name(f"{path.name}.offsets")
        self._offsets = self._offsets_path.open("w+b")
        self._file.write(bytes(HEADER_BYTES))
        self._offsets.write(bytes(OFFSET_BYTES))
        self._count = self._end = 0

    def append(self, names: Names) -> None:
        """Add rows."""
        texts = [""] * (2 * len(names))
        texts[::2], texts[1::2] = names.ids, names.paths
        joined = "".join(texts)
        # ASCII has as many bytes as characters, and nearly all names are that.
        lengths = map(len, texts) if joined.isascii() else (len(text.encode("utf-8")) for text in texts)
        ends = self._end + np.cumsum(np.fromiter(lengths, np.int64, len(texts)))
        self._file.write(joined.encode("utf-8"))
        self._offsets.write(ends.astype("<u8").tobytes())
        self._count += len(names)
        self._end = int(ends[-1]) if len(ends) else self._end

    def close(self) -> None:
        """Write the offsets and the header, and wait until all is on disk."""
        self._file.write(bytes(-self._end % OFFSET_BYTES))
        self._offsets.seek(0)
        shutil.copyfileobj(self._offsets, self._file, COPIED)
        self._file.seek(0)
        self._file.write(MAGIC + np.array([self._count, self._end], "<u8").tobytes())
        self._file.flush()
        os.fsync(self._file.fileno())
        self.abandon()

    def abandon(self) -> None:
        """Close the files as they are, and delete that of the offsets."""
        self._file.close()
        self._offsets.close()
        self._offsets_path.unlink(missing_ok=True)


class IdTable:
    """An id table on disk, mapped into memory."""

    def __init__(self, path: Path) -> None:
        """Map the file into memory. Raises IndexRefusedError when it is not a whole id table."""
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
        data = pa.py_buffer(self._map)
        self._strings = pa.LargeStringArray.from_buffers(
            2 * self.count, data.slice(start), data.slice(HEADER_BYTES, self._text)
        )

    def __len__(self) -> int:
        return self.count

    def check(self) -> None:
        """Check every offset. Raises IndexRefusedError where they do not lie in order within the text."""
        for start in range(0, len(self._offsets) - 1, 1 << 20):
            part = self._offsets[start : start + (1 << 20) + 1]
            if (part[1:] < part[:-1]).any() or int(part[-1]) > self._text:
                raise self._refused("has offsets out of order")

    def look_up(self, rows: npt.NDArray[np.int64]) -> Names:
        """Return the ids and paths of rows. Raises IndexRefusedError where a row is damaged or leaves its folder."""
        first = 2 * rows.astype(np.int64)
        starts, middles, ends = (self._offsets[first + number] for number in range(3))
        if ((starts > middles) | (middles > ends) | (ends > self._text)).any():
            raise self._refused("has offsets out of order")
        return Names(self._take(first), self._take(first + 1))

    def _take(self, places: npt.NDArray[np.int64]) -> list[str]:
        found = self._strings.take(pa.array(places))
        try:
            texts: list[str] = found.to_pylist()
        except UnicodeDecodeError as error:
            raise self._refused("holds text that is not UTF-8") from error
        for place in pc.indices_nonzero(pc.match_substring(found, "..")).to_pylist():
            if reason := find_refusal_reason(texts[place]):
                raise self._refused(f"names {texts[place][:200]!r}, which {reason}")
        return texts

    def _refused(self, what: str) -> IndexRefusedError:
        return IndexRefusedError(f"the id table {str(self.path)!r} {what}; {REBUILD}")

    def close(self) -> None:
        """Close the file."""
        # The arrays hold the map open for as long as they live.
        del self._offsets, self._strings
        self._map.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from imgaudit.exceptions import IndexRefusedError
from imgaudit.index.names import Name, Names, find_refusal_reason
from imgaudit.index.string_table import Pieces

MAGIC = b"imgaudit ids 1\n\0"
HEADER_BYTES = 32

OFFSET_BYTES = 8
"""Of one offset."""

COPIED = 1 << 20
"""Bytes of offsets that are copied at a time."""

GATHERED = 8_192
"""Rows whose names are looked up together."""

REBUILD = "build the collection again"
"""What to do where a file cannot be trusted."""


class IdTableWriter:
    """Writes an id table, many rows at a time; complete once it is closed. Memory does not grow with the rows."""

    def __init__(self, path: Path) -> None:
        """Offsets wait in a file beside it, which is gone once it is closed."""
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
        """Close the file as it is."""
        self._file.close()
        self._offsets.close()
        self._offsets_path.unlink(missing_ok=True)


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

    def names(self, rows: npt.NDArray[np.int64]) -> Names:
        """Ids and paths of rows. Raises IndexRefusedError where a row is damaged or leads out of its folder."""
        if len(rows) <= GATHERED:
            return self._gathered(rows) if len(rows) else Names([], [])
        return Names.joined(self._gathered(rows[start : start + GATHERED]) for start in range(0, len(rows), GATHERED))

    def _gathered(self, rows: npt.NDArray[np.int64]) -> Names:
        first = 2 * rows.astype(np.int64)
        starts, middles, ends = (self._offsets[first + number] for number in range(3))
        if ((starts > middles) | (middles > ends) | (ends > self._text)).any():
            raise self._refused("has offsets out of order")
        data, bounds = self._map, (starts + HEADER_BYTES, ends + HEADER_BYTES)
        pieces = [data[start:end] for start, end in zip(*(bound.tolist() for bound in bounds), strict=True)]
        joined = b"".join(pieces)
        cuts = (middles - starts).astype(np.int64)
        if b".." in joined or not joined.isascii():
            return self._one_by_one(pieces, cuts.tolist())
        # One check and one decoded text serve all rows; names are cut out of it when they are read.
        text = joined.decode("ascii")
        stops = np.cumsum((ends - starts).astype(np.int64))
        begins = np.zeros_like(stops)
        begins[1:] = stops[:-1]
        return Names(Pieces(text, begins, begins + cuts), Pieces(text, begins + cuts, stops))

    def _one_by_one(self, pieces: list[bytes], cuts: list[int]) -> Names:
        found = []
        try:
            for piece, cut in zip(pieces, cuts, strict=True):
                name = Name(piece[:cut].decode(), piece[cut:].decode())
                if b".." in piece:
                    self._check_name(name)
                found.append(name)
        except UnicodeDecodeError as error:
            raise self._refused("holds text that is not UTF-8") from error
        return Names.of(found)

    def _check_name(self, name: Name) -> None:
        for text in name:
            if reason := find_refusal_reason(text):
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

"""Files of vectors that somebody else described: .npy, Parquet, and FAISS indexes, with or without names."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from imgaudit.exceptions import InputError
from imgaudit.index.block import Block, check_block
from imgaudit.index.id_lists import read_id_list
from imgaudit.index.names import Names
from imgaudit.index.parquet import ParquetVectors

BLOCK = 16_384
"""Vectors that are read at a time."""


class NpyVectors:
    """Vectors of an .npy file, mapped into memory. Pickled objects are refused.

    float16, float32 or float64 (N, dimension), or packed bits as uint8 (N, dimension / 8).
    """

    def __init__(self, path: Path) -> None:
        try:
            # Opening a FIFO would block for ever.
            if not path.is_file():
                raise InputError(f"{str(path)!r} is not a regular file")
            self._vectors: npt.NDArray[np.generic] = np.lib.format.open_memmap(path, mode="r")
        except (OSError, ValueError, EOFError, SyntaxError, RecursionError) as error:
            raise InputError(f"{str(path)!r} is not an .npy file of numbers: {error}") from error
        if self._vectors.ndim != 2 or not self._vectors.size:
            raise InputError(
                f"expected vectors (N, dimension) in {str(path)!r}, but got {getattr(self._vectors, 'shape', '')}"
            )
        if self._vectors.dtype.kind != "f" and self._vectors.dtype != np.uint8:
            raise InputError(
                f"expected floats, or packed bits as uint8, in {str(path)!r}, but got {self._vectors.dtype}"
            )
        self.binary = self._vectors.dtype == np.uint8
        self.count, self.columns = self._vectors.shape

    def read(self, start: int, size: int) -> Iterator[tuple[npt.NDArray[np.generic], list[str] | None]]:
        """Yield vectors from row `start` on, without ids."""
        for begin in range(start, self.count, size):
            yield np.asarray(self._vectors[begin : begin + size]), None


class FaissVectors:
    """Vectors of an existing FAISS index, as far as it can give them back; compressed ones come back approximately."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise InputError(f"{str(path)!r} is not a regular file")
        with path.open("rb") as file:
            self.binary = file.read(4).startswith(b"IB")
        try:
            read = faiss.read_index_binary if self.binary else faiss.read_index
            self._index: Any = read(str(path), faiss.IO_FLAG_MMAP_IFC)
            if isinstance(self._index, faiss.IndexIDMap | faiss.IndexBinaryIDMap):
                raise InputError(
                    f"{str(path)!r} keeps ids of its own (IndexIDMap); give its inner index, and its ids as a list"
                )
            if hasattr(self._index, "make_direct_map"):
                self._index.make_direct_map()
            self.count, dimension = self._index.ntotal, self._index.d
            if self.count:
                self._index.reconstruct(0)
        except RuntimeError as error:
            line = str(error).strip().splitlines()[-1]
            raise InputError(f"FAISS cannot give back the vectors of {str(path)!r}: {line[-200:]}") from error
        if not self.count:
            raise InputError(f"the index {str(path)!r} holds no vectors")
        self.columns = dimension // 8 if self.binary else dimension

    def read(self, start: int, size: int) -> Iterator[tuple[npt.NDArray[np.generic], list[str] | None]]:
        """Yield vectors from row `start` on, without ids."""
        for begin in range(start, self.count, size):
            stop = min(begin + size, self.count)
            if self.binary:
                yield np.stack([self._index.reconstruct(row) for row in range(begin, stop)]), None
            else:
                yield self._index.reconstruct_n(begin, stop - begin), None


VectorFile = NpyVectors | FaissVectors | ParquetVectors


class VectorSource:
    """Vectors of a file, named by a list, by its own ids or by their rows."""

    def __init__(self, file: VectorFile, label: str, id_list: Path | None, block: int) -> None:
        """block:  vectors at a time, on which it depends where the source is cut"""
        self.file, self.label, self.id_list, self.block = file, label, id_list, min(block, BLOCK)

    def blocks(self, start: int) -> Iterator[Block]:
        """Yield everything from row `start` on. Raises InputError when there are fewer names than vectors."""
        listed = islice(read_id_list(self.id_list), start, None) if self.id_list is not None else None
        row = start
        for vectors, ids in self.file.read(start, self.block):
            if listed is not None:
                names = Names.of(islice(listed, len(vectors)))
            elif ids is not None:
                names = Names(ids, [""] * len(ids))
            else:
                names = Names.numbered(row, row + len(vectors))
            if len(names) != len(vectors):
                raise InputError(f"the id list {str(self.id_list)!r} ends before the vectors do")
            row += len(vectors)
            yield check_block(names.within(self.label), vectors, binary=self.file.binary)

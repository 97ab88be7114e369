"""A shard: one FAISS index with the names of its vectors, written once and never changed."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imgaudit.exceptions import IndexRefusedError
from imgaudit.index.faiss_file import Vectors, build_index, read_index, search_index, write_index
from imgaudit.index.id_table import REBUILD, IdTable, IdTableWriter
from imgaudit.index.index_types import choose_kind, count_row_bytes
from imgaudit.index.manifest import CollectionManifest, DescriptorRecord, FileDigest, ShardRecord, digest_file
from imgaudit.index.names import Names
from imgaudit.index.recall import measure_recall
from imgaudit.io.provenance import utc_now

INDEX, IDS = "index.faiss", "ids.bin"
"""Files of a shard."""


class ShardDraft:
    """A shard that is being filled: vectors and names in two files, so that memory does not grow with it."""

    def __init__(self, folder: Path, descriptor: DescriptorRecord) -> None:
        """folder: an own one for this draft; whatever an earlier process left there is deleted."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.folder, self.descriptor, self.count = folder, descriptor, 0
        self._vectors = (folder / "vectors").open("wb")
        self._ids = IdTableWriter(folder / IDS)

    def append(self, names: Names, vectors: Vectors) -> None:
        """Add vectors with their names."""
        self._ids.append(names)
        self._vectors.write(np.ascontiguousarray(vectors).tobytes())
        self.count += len(names)

    def abandon(self) -> None:
        """Delete the draft."""
        self._vectors.close()
        self._ids.abandon()
        shutil.rmtree(self.folder, ignore_errors=True)

    def finish(self, shards: Path, name: str, manifest: CollectionManifest, total: int) -> ShardRecord:
        """Build the index, measure its recall and move the shard to its place.

        It is part of the collection once the manifest names it; until then it is only a folder.
        total:  vectors that the collection will have, by which the kind is chosen
        """
        self._vectors.close()
        self._ids.close()
        kept, binary, dimension = self.folder / "vectors", self.descriptor.binary, self.descriptor.dimension
        vectors = map_vectors(kept, self.count, dimension, binary=binary)
        choice = choose_kind(self.count, dimension, binary=binary, total=total, wanted=manifest.wanted)
        index = build_index(choice, vectors, dimension, binary=binary)
        recall = measure_recall(index, choice.kind, vectors, dimension, binary=binary)
        write_index(index, self.folder / INDEX, binary=binary)
        del index, vectors
        kept.unlink()
        record = ShardRecord(
            name=name, count=self.count, kind=choice.kind, factory=choice.factory, reason=choice.reason,
            index=digest_file(self.folder / INDEX), ids=digest_file(self.folder / IDS), recall=recall, made=utc_now(),
        )  # fmt: skip
        shards.mkdir(exist_ok=True)
        # A process that was killed between the two steps left a folder that no manifest names.
        shutil.rmtree(shards / name, ignore_errors=True)
        self.folder.replace(shards / name)
        for parent in (shards / name, shards):
            _sync_folder(parent)
        return record


def map_vectors(path: Path, count: int, dimension: int, *, binary: bool) -> Vectors:
    """Map the vectors of a plain file into memory."""
    dtype, columns = (np.uint8, dimension // 8) if binary else (np.float32, dimension)
    return np.memmap(path, dtype, "r", shape=(count, columns))


def _sync_folder(path: Path) -> None:
    # Windows cannot open folders, and needs no such call.
    if os.name == "posix":
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


class Shard:
    """A finished shard, mapped into memory."""

    def __init__(self, folder: Path, record: ShardRecord, descriptor: DescriptorRecord, *, verify: bool = True) -> None:
        """verify:  whether every byte is compared with its digest; sizes and heads are compared in any case

        Raises IndexRefusedError with what is wrong.
        """
        self.record, self.descriptor = record, descriptor
        index, ids = folder / INDEX, folder / IDS
        for path, digest in ((index, record.index), (ids, record.ids)):
            check_file(path, digest, verify=verify)
        least = record.count * count_row_bytes(descriptor.dimension, binary=descriptor.binary)
        if record.index.bytes < least:
            raise IndexRefusedError(f"{str(index)!r} is too small for {record.count:,} vectors; {REBUILD}")
        self.names = IdTable(ids)
        if len(self.names) != record.count:
            raise IndexRefusedError(
                f"the id table {str(ids)!r} has {len(self.names):,} rows, but the manifest speaks of {record.count:,}; "
                f"{REBUILD}"
            )
        if verify:
            self.names.check()
        self._index: Any = read_index(index, record.kind, descriptor.dimension, record.count, binary=descriptor.binary)

    def nearest(self, queries: Vectors, k: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Return similarities and rows (n, k) of contiguous queries, best first; rows are -1 where fewer were found."""
        values: Any
        values, rows = search_index(self._index, self.record.kind, queries, k)
        if self.descriptor.binary:
            values = np.where(rows < 0, -np.inf, 1 - values / np.float32(self.descriptor.dimension))
        return np.asarray(values, np.float32), rows


def check_file(path: Path, digest: FileDigest, *, verify: bool) -> None:
    """Raise IndexRefusedError unless a file is what its digest says."""
    if path.is_symlink() or not path.is_file():
        raise IndexRefusedError(f"the file {str(path)!r} is missing or not a regular file; {REBUILD}, or copy it whole")
    size = path.stat().st_size
    if size != digest.bytes:
        raise IndexRefusedError(
            f"the file {str(path)!r} has {size:,} bytes, but {digest.bytes:,} were written; copy it whole, or {REBUILD}"
        )
    if verify and digest_file(path).sha256 != digest.sha256:
        raise IndexRefusedError(
            f"the file {str(path)!r} is not what was written (its SHA-256 differs): it is damaged or exchanged; "
            f"copy it again, or {REBUILD}"
        )

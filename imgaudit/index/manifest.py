"""A collection's manifest: what is in it, how it was made, and the digest of every file."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from imgaudit.exceptions import IndexRefusedError, InputError
from imgaudit.index.id_table import REBUILD
from imgaudit.index.index_types import Kind
from imgaudit.io.provenance import find_versions
from imgaudit.io.reading import hash_file, read_bounded
from imgaudit.io.writing import write_json
from imgaudit.schema.problems import describe_problem
from imgaudit.schema.protocol import Framing
from imgaudit.schema.records import Count, Record, Skipped

FORMAT = 3
"""Raised whenever a collection's files change. The second one also counts what was passed over in folders; the third
one keeps the state of a folder's files, by which a file replaced in place is told, and names imgaudit's own output."""

READ = (1, 2, 3)
"""Formats that are read; what is written has the last one."""

MAX_MANIFEST_BYTES = 256 * 1024 * 1024
"""Larger manifests are refused unread; a hundred thousand shards fit."""

PACKAGES = ("imgaudit", "numpy", "pillow", "faiss-gpu", "faiss-cpu", "torch", "pyarrow")

SHA256 = r"^[0-9a-f]{64}$"


class FileDigest(Record):
    """One file, told from any other."""

    bytes: int = Field(ge=0)
    """Its size."""
    sha256: str = Field(pattern=SHA256)
    """SHA-256 of its bytes."""


class IndexRecall(Count):
    """The recall of a shard's search: hits are queries whose first match is as similar as the exact search's.

    Queries are vectors of the shard, drawn at random; themselves are left out.
    """

    n: int = Field(ge=1)
    """Number of queries."""
    hits: int = Field(ge=0)
    """Number of queries whose first match is as similar as the exact one."""
    seed: int
    """Seed of the draw."""


class ShardRecord(Record):
    """One part of the collection: an index and the names of its vectors."""

    name: str = Field(pattern=r"^[0-9]{6}$")
    """Its folder in `shards`, and nowhere else."""
    count: int = Field(ge=1)
    """Vectors."""
    kind: Kind
    """Kind of index that searches them."""
    factory: str = Field(max_length=100)
    """FAISS' name of the kind."""
    reason: str
    """Reason for this kind."""
    index: FileDigest
    """index.faiss."""
    ids: FileDigest
    """ids.bin."""
    recall: IndexRecall | Skipped
    """Against exact search, measured when it was built."""
    made: str
    """When, in UTC."""


class SkipsRecord(Record):
    """A file of what was left out, with the reasons."""

    name: str = Field(pattern=r"^[0-9]{6}\.jsonl$")
    """In `skipped`, and nowhere else."""
    count: int = Field(ge=1)
    """Lines."""
    file: FileDigest
    """Its digest."""


class SourceRecord(Record):
    """Something that the collection was built from."""

    label: str
    """First part of its ids, different for every source."""
    kind: Literal["images", "npy", "parquet", "faiss"]
    """Kind of source."""
    path: str
    """Its path when it was read."""
    id_list: str = ""
    """File with the names of its vectors."""
    vector_column: str = ""
    """Column of a Parquet file that holds the vectors."""
    id_column: str = ""
    """Column of a Parquet file that holds their names."""
    digest: str = Field(pattern=SHA256)
    """Digest of the file names of a folder, or of size, time and beginning of a file."""
    count: int = Field(ge=0)
    """Files or vectors in it."""
    done: int = Field(default=0, ge=0)
    """Number of these that the shards have dealt with."""
    scaled: int = Field(default=0, ge=0)
    """Vectors that were not of length one and were scaled."""
    others: dict[str, int] = Field(default_factory=dict)
    """Files of a folder that were passed over because they are no images by their names, by suffix."""
    state: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    """SHA-256 over names, sizes and times of a folder's files when they were read; empty where it is not known."""
    own: tuple[str, ...] = ()
    """Folders in it that imgaudit wrote, which were passed over; at most ten are named."""


class DescriptorRecord(Record):
    """The descriptor whose vectors are stored."""

    name: str = Field(max_length=100)
    """Name of the descriptor."""
    source: str
    """Origin of its weights or its algorithm."""
    dimension: int = Field(ge=1, le=1_000_000)
    """Floats, or bits."""
    binary: bool
    """Packed bits instead of unit floats."""
    framing: Framing
    """Framing by which images are made square."""
    side: int = Field(ge=1)
    """Pixels of that square."""


class CollectionManifest(Record):
    """All that is known of a collection."""

    format: Literal[1, 2, 3]
    """Version of the format."""
    descriptor: DescriptorRecord
    """The descriptor whose vectors are stored."""
    wanted: Kind | None
    """The kind that was asked for; None to choose by size."""
    shard_vectors: int = Field(ge=1)
    """Most vectors of a shard."""
    sources: tuple[SourceRecord, ...]
    """Sources that it is built from, in this order."""
    shards: tuple[ShardRecord, ...] = ()
    """Shards that are finished."""
    skipped: tuple[SkipsRecord, ...] = ()
    """Files and rows that were left out."""
    made: str
    """When it was begun, in UTC."""
    changed: str
    """When it was last written, in UTC."""
    versions: dict[str, str]
    """Versions of Python and packages."""

    @property
    def count(self) -> int:
        """Vectors."""
        return sum(shard.count for shard in self.shards)

    @property
    def skipped_count(self) -> int:
        """Files and vectors left out."""
        return sum(file.count for file in self.skipped)

    @property
    def others(self) -> Counter[str]:
        """Files in the folders that are no images by their names, by suffix."""
        found = Counter[str]()
        for source in self.sources:
            found.update(source.others)
        return found

    @property
    def unfinished(self) -> tuple[SourceRecord, ...]:
        """Sources that are not wholly in the shards yet."""
        return tuple(source for source in self.sources if source.done < source.count)


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide what a collection holds."""
    return find_versions(PACKAGES)


def digest_file(path: Path) -> FileDigest:
    """Return size and SHA-256 of a file."""
    return FileDigest(bytes=path.stat().st_size, sha256=hash_file(path))


def _checksum(values: dict[str, Any]) -> str:
    # A changed digit leaves a manifest that still reads as one.
    return hashlib.sha256(json.dumps(values, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def write_manifest(folder: Path, manifest: CollectionManifest) -> None:
    """Write it atomically: the moment at which a shard becomes part of the collection."""
    values = manifest.model_dump(mode="json") | {"format": FORMAT}
    write_json(folder / "manifest.json", values | {"check": _checksum(values)})


def read_manifest(folder: Path) -> CollectionManifest:
    """Read it. Raises IndexRefusedError when it is missing, damaged, edited or of another format."""
    path = folder / "manifest.json"
    if not path.exists():
        raise IndexRefusedError(
            f"{str(folder)!r} is not a collection: it has no manifest.json; make one with imgaudit index build"
        )
    try:
        values = json.loads(read_bounded(path, MAX_MANIFEST_BYTES, follow_links=False))
        if not isinstance(values, dict):
            raise ValueError("expected an object")
    except (InputError, ValueError, RecursionError) as error:
        raise IndexRefusedError(f"the manifest {str(path)!r} cannot be read: {error}; {REBUILD}") from error
    if values.get("format") not in READ:
        raise IndexRefusedError(
            f"the collection {str(folder)!r} has format {values.get('format')!r:.20}, but this version reads {FORMAT} "
            "and earlier; use the version of imgaudit that made it, or build it again"
        )
    check = values.pop("check", None)
    try:
        manifest = CollectionManifest.model_validate(values)
    except ValidationError as error:
        raise IndexRefusedError(f"the manifest {str(path)!r} is wrong: {describe_problem(error)}; {REBUILD}") from error
    if check != _checksum(values):
        raise IndexRefusedError(f"the manifest {str(path)!r} was changed after it was written; {REBUILD}")
    return manifest

"""What a collection is built from: looked at before anything is described, and told apart from then on."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imgaudit.exceptions import ConfigError, InputError
from imgaudit.index.block import Source
from imgaudit.index.describing import FRAMING, Describer, find_descriptor, find_image_side, require_descriptor
from imgaudit.index.id_lists import count_ids
from imgaudit.index.image_folders import ImageFolder, inspect_folder
from imgaudit.index.manifest import DescriptorRecord, SourceRecord
from imgaudit.index.names import find_refusal_reason
from imgaudit.index.parquet import ParquetVectors
from imgaudit.index.source_contents import contents_path, has_content, keep_contents, read_contents
from imgaudit.index.source_states import find_changes
from imgaudit.index.vector_files import FaissVectors, NpyVectors, VectorFile, VectorSource
from imgaudit.io.reading import format_path, hash_file

VECTOR_FILES = {".npy": "npy", ".parquet": "parquet", ".faiss": "faiss", ".index": "faiss"}
"""Files of vectors, by the ends of their names."""

BEGINNING = 1 << 20
"""Bytes of a file that are part of its digest, beside its size and time; whole web crawls are not hashed twice."""


@dataclass(frozen=True)
class SourceInput:
    """A source as the user named it."""

    path: Path
    """Folder of images, or file of vectors."""
    id_list: Path | None = None
    """Names of the vectors of an .npy file or FAISS index."""
    vector_column: str = ""
    """Name of the vector column of a Parquet file."""
    id_column: str = ""
    """Name of the id column of a Parquet file."""


def pair_id_lists(
    paths: Sequence[Path], id_lists: Sequence[Path] = (), vector_column: str = "", id_column: str = ""
) -> list[SourceInput]:
    """Pair sources with their id lists, which belong to the .npy files and FAISS indexes in the order of both.

    Raises ConfigError when their numbers differ.
    """
    listed = [path for path in paths if VECTOR_FILES.get(path.suffix.lower()) in ("npy", "faiss") and not path.is_dir()]
    if id_lists and len(id_lists) != len(listed):
        raise ConfigError(
            f"expected one --ids for each of {len(listed)} .npy files and FAISS indexes, but got {len(id_lists)}"
        )
    ids = dict(zip(listed, id_lists, strict=False))
    return [SourceInput(path, ids.get(path), vector_column, id_column) for path in paths]


def source_path(given: SourceInput) -> str:
    """Return the path by which a manifest knows a source."""
    return format_path(os.path.abspath(given.path))  # noqa: PTH100 - resolve() would follow links


def plan_sources(
    given: Sequence[SourceInput], known: Sequence[SourceRecord], states: Path | None = None, advice: str = ""
) -> list[SourceRecord]:
    """Look at every source: how much is in it, and by which label its ids begin.

    known:   sources that the collection has already; one that is given again keeps its label and how far it is
    states:  folder in which the collection keeps the states of files, by which those that changed are named
    advice:  what to do about a source that has changed

    Raises InputError when one cannot be used, is given twice, or has changed since the collection got it.
    """
    labels = {source.label for source in known}
    by_path = {source.path: source for source in known}
    planned: list[SourceRecord] = []
    for one in given:
        text = source_path(one)
        path = Path(os.path.abspath(one.path))  # noqa: PTH100
        if text in {source.path for source in planned}:
            raise InputError(f"the source {text!r} is given twice")
        source = _inspect_source(one, path)
        if text in by_path:
            planned.append(_match_known(source, by_path[text], states, advice))
        else:
            label = _make_label(format_path(path.name or "root"), labels)
            labels.add(label)
            planned.append(source.model_copy(update={"label": label}))
    return planned


def _match_known(source: SourceRecord, known: SourceRecord, states: Path | None, advice: str) -> SourceRecord:
    compared = ("kind", "digest", "count", "id_list", "vector_column", "id_column")
    differs = [name for name in compared if getattr(source, name) != getattr(known, name)]
    # Collections of older versions know the names of files alone.
    if not differs and (not known.state or source.state == known.state):
        return known
    what = ", ".join(differs)
    if source.kind == known.kind == "images":
        changes = find_changes(known, states) if states and known.state else None
        if not differs and changes is not None and not any(changes):
            return known
        what = "" if changes is None else str(changes)
    elif differs == ["digest"] and states is not None and _has_same_contents(known, states):
        return known
    what = f" ({what})" if what else ""
    subject, it = ("files in ", "them") if known.kind == "images" else ("", "it")
    raise InputError(
        f"{subject}{known.path!r} changed since the collection got {it}{what}: the collection describes what was there "
        f"before. {advice}"
    )


def _has_same_contents(known: SourceRecord, states: Path) -> bool:
    """Return whether a file of vectors and its list of names, with other times, have the bytes that were kept."""
    contents = read_contents(contents_path(states, known.digest))
    return all(has_content(Path(one), contents.get(one)) for one in (known.path, known.id_list) if one)


def keep_vector_contents(source: SourceRecord, states: Path) -> None:
    """Keep the digests of a file of vectors and of its list of names, once."""
    path = contents_path(states, source.digest)
    if not path.exists():
        keep_contents(path, [(one, hash_file(Path(one))) for one in (source.path, source.id_list) if one])


def _inspect_source(given: SourceInput, path: Path) -> SourceRecord:
    if path.is_dir():
        facts = inspect_folder(path)
        if not facts.items:
            raise InputError(f"{format_path(path)!r} holds no image files (.png, .jpg, .webp, .tif, ...)")
        return SourceRecord(
            label="", kind="images", path=format_path(path), digest=facts.digest, count=facts.items,
            others=facts.others, own=facts.own, state=facts.state,
        )  # fmt: skip
    if not path.is_file():
        raise InputError(f"the source {format_path(path)!r} is not a folder of images, nor a regular file")
    kind = VECTOR_FILES.get(path.suffix.lower())
    if kind is None:
        raise InputError(
            f"the source {format_path(path)!r} is no folder, nor a file of vectors by its name: expected "
            f"{', '.join(VECTOR_FILES)}"
        )
    id_list = None if given.id_list is None else Path(os.path.abspath(given.id_list))  # noqa: PTH100
    record = SourceRecord(
        label="", kind=kind, path=format_path(path), id_list="" if id_list is None else format_path(id_list),
        vector_column=given.vector_column if kind == "parquet" else "",
        id_column=given.id_column if kind == "parquet" else "",
        digest=_file_digest(path, id_list), count=0,
    )  # fmt: skip
    count = open_vectors(record, path).count
    if id_list is not None and (named := count_ids(id_list)) != count:
        raise InputError(
            f"the id list {format_path(id_list)!r} has {named:,} names, but {format_path(path)!r} holds {count:,} "
            "vectors: give one name for each vector"
        )
    return record.model_copy(update={"count": count})


def _file_digest(path: Path, id_list: Path | None) -> str:
    digest = hashlib.sha256()
    for one in (path, *([id_list] if id_list is not None and id_list.is_file() else [])):
        status = one.stat()
        digest.update(f"{status.st_size} {status.st_mtime_ns} ".encode())
        with one.open("rb") as file:
            digest.update(file.read(BEGINNING))
    return digest.hexdigest()


def _make_label(name: str, taken: set[str]) -> str:
    """Return the source's own name, or one with a number where another source has it: the same names stay apart."""
    if find_refusal_reason(name) is not None:
        name = "source"
    number, label = 1, name
    while label in taken:
        number += 1
        label = f"{name}-{number}"
    return label


def open_vectors(record: SourceRecord, path: Path) -> VectorFile:
    """Open a file of vectors."""
    if record.kind == "npy":
        return NpyVectors(path)
    return (
        FaissVectors(path) if record.kind == "faiss" else ParquetVectors(path, record.vector_column, record.id_column)
    )


def open_source(
    record: SourceRecord,
    given: SourceInput,
    descriptor: DescriptorRecord,
    *,
    parts: Path,
    states: Path,
    describer: Describer | None,
    block: int,
) -> Source:
    """Open a source for reading.

    parts:      where described images are kept until a shard has them
    states:     where the digests of the files are kept
    describer:  for images
    block:      most vectors at a time

    Raises InputError when its vectors are not the descriptor's.
    """
    path = Path(os.path.abspath(given.path))  # noqa: PTH100
    if record.kind == "images":
        if describer is None:
            raise ConfigError(f"images cannot be described by {descriptor.name!r}: give their vectors instead")
        contents = contents_path(states, record.state) if record.state else None
        return ImageFolder(path, record.label, parts, describer, contents)
    vectors = open_vectors(record, path)
    dimension = vectors.columns * (8 if vectors.binary else 1)
    if (vectors.binary, dimension) != (descriptor.binary, descriptor.dimension):
        raise InputError(
            f"{record.path!r} holds vectors of {_format_shape(dimension, vectors.binary)}, but those of descriptor "
            f"{descriptor.name!r} have {_format_shape(descriptor.dimension, descriptor.binary)}: say with "
            "--descriptor what they are"
        )
    return VectorSource(vectors, record.label, given.id_list, block)


def _format_shape(dimension: int, binary: bool) -> str:
    return f"{dimension:,} {'bits' if binary else 'floats'}"


def plan_descriptor(name: str, planned: Sequence[SourceRecord], given: Sequence[SourceInput]) -> DescriptorRecord:
    """Decide what the vectors will be: a descriptor of imgaudit's own, or by another name what the first file holds."""
    own = find_descriptor(name)
    if own is None and any(source.kind == "images" for source in planned):
        own = require_descriptor(name)
    if own is not None:
        return DescriptorRecord(
            name=own.name, source=own.source, dimension=own.dimension, binary=own.binary, framing=FRAMING,
            side=find_image_side(own),
        )  # fmt: skip
    vectors = open_vectors(planned[0], Path(os.path.abspath(given[0].path)))  # noqa: PTH100
    return DescriptorRecord(
        name=name, source="given with the vectors", dimension=vectors.columns * (8 if vectors.binary else 1),
        binary=vectors.binary, framing=FRAMING, side=1,
    )  # fmt: skip

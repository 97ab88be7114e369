"""Building a collection as a stream: memory holds one shard, and a kill at any moment loses no finished one.

The manifest is written after every shard and says how far each source is; what is not in it does not exist yet.
"""

import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from imgaudit.exceptions import ConfigError, InputError
from imgaudit.index.block import Block
from imgaudit.index.describing import Describer, find_descriptor
from imgaudit.index.image_folders import ImageFolder
from imgaudit.index.index_types import Kind, choose_kind, count_row_bytes
from imgaudit.index.manifest import (
    FORMAT,
    CollectionManifest,
    ShardRecord,
    SkipsRecord,
    digest_file,
    package_versions,
    read_manifest,
    write_manifest,
)
from imgaudit.index.rebuilding import advise_rebuilding
from imgaudit.index.shards import ShardDraft
from imgaudit.index.source_states import keep_states
from imgaudit.index.sources import (
    SourceInput,
    keep_vector_contents,
    open_source,
    plan_descriptor,
    plan_sources,
    source_path,
)
from imgaudit.io.lock import hold_folder
from imgaudit.io.provenance import utc_now
from imgaudit.io.writing import write_atomically
from imgaudit.schema.records import SkippedImage

SHARD_BYTES = 2**31
"""Vectors of a shard take at most so much; memory for building it grows with it, and with nothing else."""

STATES = "states"
"""Folder of a collection with the states of the files that it was built from."""

BEGUN = (".lock", ".lock-holder", ".draft", ".manifest.json.partial", STATES)
"""Files and folders that a build leaves when it is killed before it writes a manifest."""

Progress = Callable[[int, int], None]


DEFAULT_DESCRIPTOR = "detail"
"""Describes images where no descriptor is named; it needs no weights."""


@dataclass(frozen=True)
class BuildOptions:
    """Options for making a new collection."""

    descriptor: str = DEFAULT_DESCRIPTOR
    """Name of the descriptor of the images, or of the given vectors."""
    kind: Kind | None = None
    """Search method for the vectors; None to choose by their number."""
    shard_vectors: int | None = None
    """Most vectors of a shard; None for as many as 2 GiB hold."""


def build_collection(
    folder: Path,
    given: Sequence[SourceInput],
    options: BuildOptions | None = None,
    *,
    workers: int = 1,
    on_progress: Progress = lambda done, total: None,
) -> CollectionManifest:
    """Build a collection, or go on with one that the same sources began.

    workers:  processes that read and describe images; 0 for this one

    Raises InputError or ConfigError when a source cannot be used or the folder holds something else, and
    IndexRefusedError when it holds a damaged collection.
    """
    options = options or BuildOptions()
    if not given:
        raise ConfigError("a collection needs at least one source")
    with hold_folder(folder):
        if (folder / "manifest.json").exists():
            manifest = read_manifest(folder)
            _refuse_other_options(manifest, options)
            planned = plan_sources(given, manifest.sources, folder / STATES, advise_rebuilding(folder, manifest, given))
            new = [source.path for source in planned if source not in manifest.sources]
            if new:
                raise InputError(
                    f"{str(folder)!r} holds a collection without {new[0]!r}: add it with imgaudit index add, or choose "
                    "another folder"
                )
        else:
            manifest = _begin_collection(folder, given, options)
        return _continue_build(folder, manifest, given, workers, on_progress)


def add_to_collection(
    folder: Path,
    given: Sequence[SourceInput],
    *,
    workers: int = 1,
    on_progress: Progress = lambda done, total: None,
) -> CollectionManifest:
    """Add sources to a collection as new shards; sources that it has already are left as they are.

    Raises what :func:`build_collection` raises.
    """
    read_manifest(folder)
    with hold_folder(folder):
        manifest = read_manifest(folder)
        planned = plan_sources(given, manifest.sources, folder / STATES, advise_rebuilding(folder, manifest, given))
        new = [source for source in planned if source not in manifest.sources]
        manifest = manifest.model_copy(update={"sources": (*manifest.sources, *new)})
        return _continue_build(folder, manifest, given, workers, on_progress)


def _refuse_other_options(manifest: CollectionManifest, options: BuildOptions) -> None:
    for name, was, asked in (
        ("--descriptor", manifest.descriptor.name, options.descriptor),
        ("--kind", manifest.wanted or "auto", options.kind or "auto"),
        ("--shard-vectors", manifest.shard_vectors, options.shard_vectors or manifest.shard_vectors),
    ):
        if was != asked:
            raise ConfigError(f"the collection was begun with {name} {was}, but got {asked}: choose another folder")


def _begin_collection(folder: Path, given: Sequence[SourceInput], options: BuildOptions) -> CollectionManifest:
    others = [path.name for path in folder.iterdir() if path.name not in BEGUN]
    if others:
        raise InputError(f"{str(folder)!r} is not empty and no collection: choose a new folder")
    planned = plan_sources(given, ())
    descriptor = plan_descriptor(options.descriptor, planned, given)
    most = max(1, SHARD_BYTES // count_row_bytes(descriptor.dimension, binary=descriptor.binary))
    # A kind that does not exist is refused before anything is read.
    choose_kind(most, descriptor.dimension, binary=descriptor.binary, wanted=options.kind)
    return CollectionManifest(
        format=FORMAT, descriptor=descriptor, wanted=options.kind, shard_vectors=options.shard_vectors or most,
        sources=tuple(planned), made=utc_now(), changed=utc_now(), versions=package_versions(),
    )  # fmt: skip


def _continue_build(
    folder: Path, manifest: CollectionManifest, given: Sequence[SourceInput], workers: int, on_progress: Progress
) -> CollectionManifest:
    by_path = {source_path(one): one for one in given}
    missing = [source.path for source in manifest.unfinished if source.path not in by_path]
    if missing:
        raise InputError(f"the collection is not finished with {missing[0]!r}: give that source again first")
    with Build(folder, manifest, by_path, workers, on_progress) as build:
        build.run()
        manifest = build.manifest
    if not manifest.count:
        first = next((skips for skips in manifest.skipped), None)
        reason = ""
        if first is not None:
            with (folder / "skipped" / first.name).open(encoding="utf-8") as file:
                reason = SkippedImage.model_validate_json(file.readline()).skipped
        raise InputError(f"none of {manifest.skipped_count:,} files or vectors can be used; the first: {reason}")
    return manifest


class Build:
    """A build that is under way, under the folder's lock."""

    def __init__(
        self,
        folder: Path,
        manifest: CollectionManifest,
        given: dict[str, SourceInput],
        workers: int,
        on_progress: Progress,
    ) -> None:
        self.folder, self.manifest, self.given, self.on_progress = folder, manifest, given, on_progress
        self._sources = list(manifest.sources)
        self._stack = ExitStack()
        self._describer: Describer | None = None
        if find_descriptor(manifest.descriptor.name) is not None:
            self._describer = self._stack.enter_context(Describer(manifest.descriptor.name, workers))
        self._skipped: list[SkippedImage] = []
        self._draft = ShardDraft(folder / ".draft", manifest.descriptor)

    def __enter__(self) -> "Build":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._draft.abandon()

    def run(self) -> None:
        """Deal with everything that is not finished."""
        total = sum(source.count for source in self.manifest.sources)
        # Sources are opened before the manifest speaks of them: one that does not fit leaves nothing behind.
        opened = {
            number: open_source(
                record, self.given[record.path], self.manifest.descriptor, describer=self._describer,
                parts=self.folder / "parts" / f"{number:06d}", states=self.folder / STATES,
                block=self.manifest.shard_vectors,
            )
            for number, record in enumerate(self._sources) if record.done < record.count
        }  # fmt: skip
        if not opened:
            self._forget_parts()
            return
        for record in self._sources:
            if record.path not in self.given:
                continue
            if record.kind != "images":
                keep_vector_contents(record, self.folder / STATES)
            elif record.state:
                keep_states(Path(record.path), self.folder / STATES, record.state)
        write_manifest(self.folder, self.manifest)
        for number, source in opened.items():
            for block in source.blocks(self._sources[number].done):
                if self._draft.count and self._draft.count + len(block.names) > self.manifest.shard_vectors:
                    self._commit()
                self._take(number, block)
                self.on_progress(sum(record.done for record in self._sources), total)
        self._commit()
        self._forget_parts()

    def _forget_parts(self) -> None:
        # Also where nothing is left to do: a process that finished can have been killed before it came to this.
        shutil.rmtree(self.folder / "parts", ignore_errors=True)

    def _take(self, number: int, block: Block) -> None:
        if block.names:
            self._draft.append(block.names, block.vectors)
        self._skipped += block.skipped
        record = self._sources[number]
        self._sources[number] = record.model_copy(
            update={"done": record.done + block.consumed, "scaled": record.scaled + block.scaled}
        )

    def _commit(self) -> None:
        """Finish the shard in hand; with the manifest it becomes part of the collection."""
        shards, skips = list(self.manifest.shards), list(self.manifest.skipped)
        if self._draft.count:
            total = sum(record.count for record in self._sources) - self.manifest.skipped_count - len(self._skipped)
            shards.append(self._finished_shard(len(shards), total))
        if self._skipped:
            skips.append(_write_skips(self.folder / "skipped", len(skips), self._skipped))
        self.manifest = self.manifest.model_copy(
            update={
                "sources": tuple(self._sources), "shards": tuple(shards), "skipped": tuple(skips), "changed": utc_now(),
                "versions": package_versions(),
            }
        )  # fmt: skip
        write_manifest(self.folder, self.manifest)
        self._skipped = []
        for number, record in enumerate(self._sources):
            if record.kind == "images" and self._describer is not None:
                parts = self.folder / "parts" / f"{number:06d}"
                ImageFolder(Path(record.path), record.label, parts, self._describer).forget(record.done)
        self._draft.abandon()
        self._draft = ShardDraft(self.folder / ".draft", self.manifest.descriptor)

    def _finished_shard(self, number: int, total: int) -> ShardRecord:
        return self._draft.finish(self.folder / "shards", f"{number:06d}", self.manifest, total)


def _write_skips(folder: Path, number: int, skipped: Sequence[SkippedImage]) -> SkipsRecord:
    folder.mkdir(exist_ok=True)
    path = folder / f"{number:06d}.jsonl"
    write_atomically(path, "".join(f"{one.model_dump_json()}\n" for one in skipped))
    return SkipsRecord(name=path.name, count=len(skipped), file=digest_file(path))

"""A folder of images as a source: walked in a fixed order, described in workers, kept in parts for a while."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from imgaudit.index.block import Block
from imgaudit.index.describing import Describer, ImageEntry
from imgaudit.index.names import Name, Names, find_refusal_reason
from imgaudit.index.source_contents import keep_contents
from imgaudit.io.listing import walk_images
from imgaudit.io.reading import format_path
from imgaudit.io.writing import write_atomically
from imgaudit.schema.records import SkippedImage

PART = 512
"""Files of a part: what a kill can cost."""

TASK = 16
"""Files that a worker gets at a time."""

DRAWINGS = frozenset({".svg", ".eps"})
"""Formats of strokes, which are never decoded: a folder that holds some has lost no picture by it."""

KINDS = 10
"""Kinds of other files that are told apart."""


class FolderFacts(NamedTuple):
    """A folder, looked at before it is described."""

    items: int
    """Number of entries that a collection would take."""
    digest: str
    """SHA-256 over their names."""
    state: str
    """SHA-256 over the lines of `list_states`."""
    others: dict[str, int]
    """Files that are passed over because they are no images by their names, by suffix."""
    own: tuple[str, ...] = ()
    """Folders in it that imgaudit wrote, at most `KINDS`."""


def list_entries(folder: Path) -> Iterator[ImageEntry]:
    """Yield every image below a folder, and every entry that may hide one with why it is not read, in a fixed order."""
    for listing in walk_images(folder):
        yield from (ImageEntry(path) for path in listing.images)
        yield from (ImageEntry(path, reason) for path, reason in listing.refused)


def list_collected_entries(folder: Path, others: Counter[str], own: list[str] | None = None) -> Iterator[ImageEntry]:
    """Yield the entries of a folder that a collection takes: all but drawings.

    others:  counts, by suffix, what is passed over: drawings, and other files that are no images by their names
    own:     gets the first folders that imgaudit wrote, which are passed over
    """
    for listing in walk_images(folder):
        others.update(listing.others)
        if own is not None and len(own) < KINDS:
            own += [format_path(path.relative_to(folder).as_posix()) for path, _ in listing.own]
        for path in listing.images:
            if path.suffix.lower() in DRAWINGS:
                others[path.suffix.lower()] += 1
            else:
                yield ImageEntry(path)
        yield from (ImageEntry(path, reason) for path, reason in listing.refused)


def inspect_folder(folder: Path) -> FolderFacts:
    """Count and tell apart what a collection would take of a folder, listing it once."""
    digest, states, count, others, own = hashlib.sha256(), hashlib.sha256(), 0, Counter[str](), list[str]()
    for item in list_collected_entries(folder, others, own):
        digest.update(os.fsencode(item.path.relative_to(folder)) + b"\0")
        states.update(f"{_describe_state(folder, item)}\n".encode())
        count += 1
    return FolderFacts(count, digest.hexdigest(), states.hexdigest(), _count_kinds(others), tuple(own))


def list_states(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield every entry that a collection takes with a line: its name in the folder, its size and its times.

    The times are those of its content, which programs that copy files set as they like, and of its entry, which the
    system sets. By these a file that was replaced in place is told. Contents are not read here: that would take as long
    as building.
    """
    for item in list_collected_entries(folder, Counter()):
        yield item.path, _describe_state(folder, item)


def _describe_state(folder: Path, item: ImageEntry) -> str:
    name = _name_in(folder, item.path)
    try:
        status = item.path.lstat()
    except OSError:
        return json.dumps([name, -1, -1, -1])
    return json.dumps([name, status.st_size, status.st_mtime_ns, status.st_ctime_ns])


def _name_in(folder: Path, path: Path) -> str:
    return format_path(path.relative_to(folder).as_posix())


def _count_kinds(others: Counter[str]) -> dict[str, int]:
    """Return the most common kinds as short text; the suffixes are untrusted."""
    kinds = Counter[str]()
    for number, (suffix, count) in enumerate(others.most_common()):
        kinds[format_path(suffix)[:20] if number < KINDS else "more"] += count
    return dict(kinds)


class ImageFolder:
    """Images of a folder. What was described is kept in small files, so that a kill costs little."""

    def __init__(
        self, folder: Path, label: str, parts: Path, describer: Describer, contents: Path | None = None
    ) -> None:
        """parts:     folder for this source's parts
        contents:  file that gets the digest of every file that is read; None for a use that reads none
        """
        self.folder, self.label, self.parts, self.describer = folder, label, parts, describer
        self.contents = contents

    def blocks(self, start: int) -> Iterator[Block]:
        """Yield everything from item `start` on: kept parts first, then the rest."""
        while (block := self._kept(start)) is not None:
            yield block
            start += block.consumed
        waiting = islice(list_collected_entries(self.folder, Counter()), start, None)
        tasks = iter(lambda: tuple(islice(waiting, TASK)), ())
        described = self.describer.describe(tasks)
        while group := list(islice(described, PART // TASK)):
            items = [item for one in group for item in one.items]
            block = self._block(items, np.concatenate([one.vectors for one in group]))
            if self.contents is not None:
                keep_contents(self.contents, [(_name_in(self.folder, item.path), item.sha256) for item in items])
            self._keep(start, block)
            yield block
            start += block.consumed

    def forget(self, stop: int) -> None:
        """Delete the parts of items before `stop`: a shard has them."""
        for path in self.parts.glob("*.safetensors"):
            if int(path.stem) < stop:
                path.unlink(missing_ok=True)

    def _block(self, items: list[ImageEntry], vectors: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Block:
        names, skipped, kept, row = [], [], [], 0
        for item in items:
            path, reason = format_path(item.path), item.reason
            name = f"{self.label}/{_name_in(self.folder, item.path)}"
            if reason is None:
                reason = next((f"its name {why}" for text in (name, path) if (why := find_refusal_reason(text))), None)
                kept += [row] if reason is None else []
                row += 1
            if reason is None:
                names.append(Name(name, path))
            else:
                skipped.append(SkippedImage(path=path, skipped=reason))
        return Block(Names.of(names), vectors[kept], skipped)

    def _path(self, start: int) -> Path:
        return self.parts / f"{start:012d}.safetensors"

    def _keep(self, start: int, block: Block) -> None:
        record = {"names": list(block.names), "skipped": [one.model_dump(mode="json") for one in block.skipped]}
        write_atomically(
            self._path(start), save({"vectors": np.ascontiguousarray(block.vectors)}, {"part": json.dumps(record)})
        )

    def _kept(self, start: int) -> Block | None:
        """Return a part that an earlier process finished, or None; one that cannot be read is made again."""
        try:
            with safe_open(self._path(start), framework="numpy") as file:
                vectors = file.get_tensor("vectors")
                record = json.loads(file.metadata()["part"])
            names = Names.of(Name(*name) for name in record["names"])
            skipped = [SkippedImage.model_validate(one) for one in record["skipped"]]
        except (OSError, SafetensorError, ValueError, KeyError, TypeError):
            return None
        whole = len(vectors) == len(names) and bool(len(names) or skipped)
        return Block(names, vectors, skipped) if whole else None

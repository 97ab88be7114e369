"""A collection of vectors on disk, searched for near-duplicates."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from imgaudit.exceptions import IndexRefusedError, InputError
from imgaudit.index.faiss_file import Vectors
from imgaudit.index.index_types import count_row_bytes
from imgaudit.index.manifest import CollectionManifest, IndexRecall, read_manifest
from imgaudit.index.names import Names
from imgaudit.index.results import Match, Matches, SearchResults
from imgaudit.index.shards import Shard, check_file
from imgaudit.schema.records import Skipped, SkippedImage
from imgaudit.statistics import clopper_pearson

if TYPE_CHECKING:
    from imgaudit.index.views import Views

MOST = 1_000
"""Matches above a bound that are listed for one query."""

QUERY_BLOCK = 1_024
"""Queries that are searched together."""


class Collection:
    """Vectors with their names, in shards that are mapped into memory.

    len(collection) is the number of vectors.
    """

    def __init__(self, folder: Path, manifest: CollectionManifest, shards: list[Shard]) -> None:
        self.folder, self.manifest, self.shards = folder, manifest, shards

    @classmethod
    def open(cls, folder: Path, *, verify: bool = True) -> "Collection":
        """Open a collection.

        verify:  whether every byte is compared with its digest first, which reads all files once. Without it sizes,
                 heads and counts are still compared.

        Raises IndexRefusedError when a file is missing, damaged, exchanged or not what the manifest says, and when
        nothing is finished yet.
        """
        manifest = read_manifest(folder)
        if not manifest.shards and not manifest.unfinished:
            raise IndexRefusedError(
                f"the collection {str(folder)!r} is empty: none of its {manifest.skipped_count:,} files or vectors "
                "could be used, and the folder 'skipped' in it says why; choose another descriptor or other images, "
                "and a new folder"
            )
        if not manifest.shards:
            raise IndexRefusedError(
                f"the collection {str(folder)!r} holds no vectors yet: run the command that builds it again, and it "
                "continues where it stopped"
            )
        names = [shard.name for shard in manifest.shards]
        if len(set(names)) != len(names):
            raise IndexRefusedError(f"the manifest of {str(folder)!r} names a shard twice; build the collection again")
        for skips in manifest.skipped:
            check_file(folder / "skipped" / skips.name, skips.file, verify=verify)
        opened = [
            Shard(folder / "shards" / record.name, record, manifest.descriptor, verify=verify)
            for record in manifest.shards
        ]
        return cls(folder, manifest, opened)

    def __len__(self) -> int:
        return self.manifest.count

    @property
    def remark(self) -> str:
        """Warning to read before trusting an empty answer; empty when the collection is finished."""
        waiting = self.manifest.unfinished
        if not waiting:
            return ""
        left = sum(source.count - source.done for source in waiting)
        return (
            f"{left:,} files or vectors of {len(waiting)} sources are not in the collection yet: run the command that "
            "builds it again, it continues where it stopped"
        )

    @property
    def recall(self) -> IndexRecall | Skipped:
        """Recall of all shards that are not searched exactly, pooled."""
        measured = [shard.record.recall for shard in self.shards if isinstance(shard.record.recall, IndexRecall)]
        if not measured:
            return Skipped(skipped="the search is exact")
        hits, n = sum(one.hits for one in measured), sum(one.n for one in measured)
        low, high = clopper_pearson(hits, n)
        return IndexRecall(hits=hits, n=n, low=low, high=high, seed=measured[0].seed)

    def skipped(self) -> Iterator[SkippedImage]:
        """Yield what was left out when the collection was built, with the reasons."""
        for skips in self.manifest.skipped:
            with (self.folder / "skipped" / skips.name).open(encoding="utf-8") as file:
                for line in file:
                    yield SkippedImage.model_validate_json(line)

    def search(self, vectors: Vectors, k: int) -> SearchResults:
        """Find the k nearest of every query, nearest first; fewer where the collection holds or finds fewer.

        vectors:  (N, dimension) float32 of unit length, or (N, dimension / 8) uint8, of the collection's descriptor

        Raises InputError when they are anything else.
        """
        blocks = [
            self.nearest(vectors[start : start + QUERY_BLOCK], k) for start in range(0, len(vectors), QUERY_BLOCK)
        ]
        if not blocks:
            return SearchResults(Names([], []), [], [])
        values, shards, rows = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        return self._named(values, shards, rows)

    def above(self, vectors: Vectors, bound: float, most: int = MOST) -> list[Matches]:
        """Find all matches of every query at or above a similarity, nearest first, at most `most` of them.

        Where an index is not exact, matches can be missed as often as its recall says.
        """
        found: list[Matches] = []
        for start in range(0, len(vectors), QUERY_BLOCK):
            # One more than is listed tells whether the list is cut.
            values, shards, rows = self.nearest(vectors[start : start + QUERY_BLOCK], most + 1)
            near = (rows >= 0) & (values.astype(np.float64) >= bound)
            # Only what is listed is named.
            named = self._named(values[:, :most], shards[:, :most], np.where(near, rows, -1)[:, :most])
            found += map(Matches, named, (near.sum(axis=1) > most).tolist())
        return found

    def search_views(self, views: "Views", k: int, bound: float = -math.inf) -> Matches:
        """Find the k nearest of any view of one query, each image once, with the view that is nearest to it.

        bound:  least similarity, the allowance of the view taken off

        Every view is searched for k + 1 images, so that nothing is missed of which an exact search would know.
        """
        values, shards, rows = self.nearest(views.vectors, k + 1)
        similarities = values - views.allowances[:, None]
        near = np.flatnonzero((rows >= 0) & (similarities.astype(np.float64) >= bound))
        order = near[np.argsort(-similarities.ravel()[near], kind="stable")]
        places = np.stack([shards.ravel()[order], rows.ravel()[order]], axis=1)
        first = np.sort(np.unique(places, axis=0, return_index=True)[1]) if len(order) else np.zeros(0, np.int64)
        listed = order[first[:k]]
        names = self._names(shards.ravel()[listed], rows.ravel()[listed])
        shown = [views.words[number // values.shape[1]] for number in listed.tolist()]
        found = map(Match, names.ids, names.paths, similarities.ravel()[listed].tolist(), shown)
        return Matches(list(found), len(first) > k)

    def nearest(
        self, vectors: Vectors, k: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return similarities, shards and rows (N, k), nearest first; rows are -1 where fewer were found."""
        queries = self._checked(vectors)
        if k < 1:
            raise InputError(f"the number of matches must be at least 1, but got {k}")
        parts = [shard.nearest(queries, min(k, shard.record.count)) for shard in self.shards]
        if len(parts) == 1:
            values, rows = parts[0]
            return values, np.zeros_like(rows), rows
        values = np.concatenate([part[0] for part in parts], axis=1)
        rows = np.concatenate([part[1] for part in parts], axis=1)
        shards = np.repeat(np.arange(len(parts)), [part[0].shape[1] for part in parts])
        order = np.argsort(-values, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(values, order, 1), shards[order], np.take_along_axis(rows, order, 1)

    def _checked(self, vectors: Vectors) -> Vectors:
        descriptor = self.manifest.descriptor
        columns = count_row_bytes(descriptor.dimension, binary=descriptor.binary) // (1 if descriptor.binary else 4)
        dtype = np.dtype(np.uint8 if descriptor.binary else np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != columns or vectors.dtype != dtype:
            raise InputError(
                f"expected queries (N, {columns}) {dtype} of descriptor {descriptor.name!r}, but got "
                f"{vectors.shape} {vectors.dtype}"
            )
        return np.ascontiguousarray(vectors)

    def _named(
        self, values: npt.NDArray[np.float32], shards: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
    ) -> SearchResults:
        kept = rows >= 0
        names = self._names(shards[kept], rows[kept])
        return SearchResults(names, values[kept].tolist(), np.cumsum(kept.sum(axis=1)).tolist())

    def _names(self, shards: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> Names:
        if len(self.shards) == 1:
            return self.shards[0].names.look_up(rows)
        ids, paths = [""] * len(rows), [""] * len(rows)
        for number in np.unique(shards).tolist():
            places = np.nonzero(shards == number)[0]
            part = self.shards[number].names.look_up(rows[places])
            for place, name, path in zip(places.tolist(), part.ids, part.paths, strict=True):
                ids[place], paths[place] = name, path
        return Names(ids, paths)

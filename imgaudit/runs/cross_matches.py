"""Generations compared with the targets of a folder that they were not made for, and with decoys.

A folder of 100,000 images has 10,000 million pairs. So coincidence is counted with a sample of the targets where there
are many. Which other targets an image's generations are near copies of is looked up among all of them. What waits in
between is in files of the system's temporary folder.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from imgaudit.decision.coincidence import CrossMatches, Others
from imgaudit.index.bound import BoundIndex
from imgaudit.io.scratch import open_scratch_file
from imgaudit.io.stored_rows import StoredRows
from imgaudit.schema.measures import NEAR_COPY_CORRELATION
from imgaudit.similarity.descriptors import PixelDescriptor

MOST_OTHERS = 1024
"""Targets and decoys with which every image's generations are compared, to count coincidence: all where there are no
more, and otherwise the first targets in order of id, which is that of their SHA-256 and so as good as drawn by lot."""

ROUNDING = 1e-6
"""Correlations that differ by less are the same: sums of float32, taken in another order."""

BATCH = 128
"""Generations that are compared at once; those of one image are never divided."""

COUNTED = 2048
"""Images whose pairs are counted at once: 8 MiB of similarities."""

MOST_RESEMBLING = 50
"""Other targets that are named for an image."""

MOST_EXAMINED = 200
"""Targets that are compared in full with an image's generations: those with the highest bounds."""

Vectors = npt.NDArray[np.float32]

Stored = StoredRows[np.float32]


@dataclass(frozen=True)
class CountedMatches(CrossMatches):
    """Coincidence that was counted row by row; the similarities themselves were not kept."""

    own: Vectors = field(default_factory=lambda: np.empty(0, np.float32))
    """(targets,): highest similarity of an image's generations to the image itself; -inf when none was scored."""
    counted: Others = field(default_factory=lambda: Others(0, np.empty(0, np.int64)))
    """All unrelated pairs that were compared, in numbers."""
    closer: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    """By image, other targets that its generations resemble more than it, closest first; images without any are left
    out."""

    @property
    def _others(self) -> Others:
        return self.counted

    def coincidence_p_value(self, image_id: str) -> float | None:
        """Return what `CrossMatches.coincidence_p_value` returns."""
        place = self._place[image_id]
        if not self.pairs or not np.isfinite(self.own[place]):
            return None
        return (1 + int(self.counted.at_least[place])) / (1 + self.pairs)

    def resembling(self, image_id: str) -> list[tuple[str, float]]:
        """Return what `CrossMatches.resembling` returns, at most `MOST_RESEMBLING` of them."""
        return list(self.closer.get(image_id, ()))


class _Batch(NamedTuple):
    """Some images with all their generations."""

    places: list[int]
    """Row of each image among the targets."""
    starts: list[int]
    """For each, where its generations begin."""
    vectors: Vectors
    """(generations, 3072)."""

    def highest(self, similarities: Vectors) -> Vectors:
        """Return (images, columns): the highest of every image's generations, of (generations, columns)."""
        return np.asarray(np.maximum.reduceat(similarities, self.starts, axis=0))

    def own_image(self) -> list[int]:
        """Return, for every generation, the number of its image in the batch."""
        counts = np.diff([*self.starts, len(self.vectors)])
        return np.repeat(np.arange(len(self.places)), counts).tolist()


@dataclass(frozen=True)
class _Folder:
    """The targets and decoys that generations are compared with."""

    ids: list[str]
    place: dict[str, int]
    """Row of each target by its id."""
    targets: Stored
    others: Vectors
    """(at most MOST_OTHERS, 3072): targets from the first on, then decoys."""
    bounds: BoundIndex
    """All targets."""
    related: dict[int, list[int]]
    """Rows of the same work, for every target that has near-duplicates."""

    def work(self, place: int) -> list[int]:
        """Return the rows of one work: the target, and its near-duplicates."""
        return self.related.get(place, [place])


def cross_match(
    targets: Iterable[tuple[str, Vectors]],
    generations: Iterable[tuple[str, Vectors]],
    *,
    decoys: Vectors | None = None,
    groups: Sequence[Sequence[str]] = (),
) -> CrossMatches:
    """Compare the generations of a rung with targets that have the rung and with decoys, by the pixel descriptor.

    targets:      id and one vector (3072,), in order of id; taken one at a time
    generations:  id and the vectors (frames, 3072) that can be scored, one target at a time; ids are among the targets
    decoys:       (decoys, 3072): unrelated images
    groups:       near-duplicates among the targets

    Coincidence is counted over all pairs where there are at most `MOST_OTHERS` targets and decoys, and otherwise over
    those with the first `MOST_OTHERS`. Other targets that an image's generations resemble more than it are looked for
    among all.
    """
    with open_scratch_file() as of_targets, open_scratch_file() as of_rows:
        folder = _read_folder(targets, StoredRows(of_targets, (PixelDescriptor.dimension,), np.float32), decoys, groups)
        own = np.full(len(folder.ids), -np.inf, dtype=np.float32)
        rows = StoredRows(of_rows, (len(folder.others),), np.float32)
        closer = dict[str, list[tuple[str, float]]]()
        for batch in _batches(generations, folder.place):
            whose = folder.targets[batch.places][batch.own_image()]
            own[batch.places] = batch.highest((batch.vectors * whose).sum(axis=1))
            rows.append(_compare_with_others(batch, folder))
            for row, found in _find_closer(batch, folder, own):
                closer[folder.ids[row]] = found
        counted = _count(own, rows)
    nothing = np.empty((0, 0), dtype=np.float32)
    return CountedMatches(folder.ids, nothing, groups, own, counted, closer)


def _read_folder(
    targets: Iterable[tuple[str, Vectors]],
    stored: Stored,
    decoys: Vectors | None,
    groups: Sequence[Sequence[str]],
) -> _Folder:
    ids, bounds = list[str](), BoundIndex()
    given = iter(targets)
    while some := list(islice(given, BATCH)):
        ids.extend(name for name, _ in some)
        block = np.stack([vector for _, vector in some])
        stored.append(block)
        bounds.add(block)
    others = [stored[:MOST_OTHERS]]
    if ids and decoys is not None:
        others.append(decoys[: max(0, MOST_OTHERS - len(ids))])
    place = {name: number for number, name in enumerate(ids)}
    works = [[place[name] for name in group if name in place] for group in groups]
    related = {row: work for work in works for row in work}
    return _Folder(ids, place, stored, np.concatenate(others), bounds, related)


def _batches(generations: Iterable[tuple[str, Vectors]], place: dict[str, int]) -> Iterator[_Batch]:
    """Put images together until there are enough generations."""
    places, vectors, count = list[int](), list[Vectors](), 0
    for name, frames in generations:
        if len(frames):
            places.append(place[name])
            vectors.append(frames)
            count += len(frames)
        if count >= BATCH:
            yield _make_batch(places, vectors)
            places, vectors, count = [], [], 0
    if places:
        yield _make_batch(places, vectors)


def _make_batch(places: list[int], vectors: list[Vectors]) -> _Batch:
    starts = [0, *accumulate(map(len, vectors[:-1]))]
    return _Batch(places, starts, np.concatenate(vectors))


def _compare_with_others(batch: _Batch, folder: _Folder) -> Vectors:
    """Return (images, others): highest similarity of an image's generations to each; -inf for its own work."""
    best = batch.highest(batch.vectors @ folder.others.T)
    sampled = min(len(folder.ids), len(folder.others))
    for number, place in enumerate(batch.places):
        best[number, [row for row in folder.work(place) if row < sampled]] = -np.inf
    return best


def _find_closer(batch: _Batch, folder: _Folder, own: Vectors) -> Iterator[tuple[int, list[tuple[str, float]]]]:
    """Yield an image's row, with the other targets that its generations are nearer copies of than of it."""
    likely: dict[int, dict[int, float]] = {}
    found_likely = folder.bounds.search(batch.vectors, NEAR_COPY_CORRELATION, MOST_EXAMINED)
    for number, rows in zip(batch.own_image(), found_likely, strict=True):
        bounds = likely.setdefault(number, {})
        for row, bound in rows:
            bounds[row] = max(bound, bounds.get(row, -1.0))
    ends = [*batch.starts[1:], len(batch.vectors)]
    for number, bounds in likely.items():
        place = batch.places[number]
        others = sorted(bounds.keys() - set(folder.work(place)), key=lambda row: (-bounds[row], row))[:MOST_EXAMINED]
        if not others:
            continue
        frames = batch.vectors[batch.starts[number] : ends[number]]
        best = (frames @ folder.targets[others].T).max(axis=0)
        level = max(float(own[place]) + ROUNDING, NEAR_COPY_CORRELATION)
        found = [(folder.ids[row], float(one)) for row, one in zip(others, best, strict=True) if one > level]
        if found:
            # Identical pictures differ in the last digit only: these are in order of id.
            yield place, sorted(found, key=lambda pair: (-round(pair[1], 6), pair[0]))[:MOST_RESEMBLING]


def _count(own: Vectors, rows: Stored) -> Others:
    """Count, for every image, the unrelated pairs that are at least as similar as the image and its own generations."""
    # A little less than the own similarity: pairs of identical pictures count, in whatever order they are summed.
    order, levels = np.argsort(own), np.sort(own) - np.float32(ROUNDING)
    reached, pairs = np.zeros(len(own), dtype=np.int64), 0
    for start in range(0, len(rows), COUNTED):
        known = rows[start : start + COUNTED].ravel()
        known = np.sort(known[np.isfinite(known)])
        pairs += len(known)
        reached += len(known) - np.searchsorted(known, levels)
    at_least = np.empty(len(own), dtype=np.int64)
    at_least[order] = reached
    return Others(pairs, at_least)

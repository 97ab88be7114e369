"""Generations compared with every target of a folder and with decoys, through one index at a time.

A folder of 100,000 images has 10,000 million pairs. So vectors wait in files of the system's temporary folder, and what
is compared at once is a block of targets with some images' generations: what is in memory does not grow with the
number of generations, and of the pairs nothing is kept but what conclusions need.
"""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO

import numpy as np
import numpy.typing as npt

from imgaudit.decision.coincidence import CrossMatches, Others
from imgaudit.index import FlatIndex
from imgaudit.schema.measures import NEAR_COPY_CORRELATION
from imgaudit.similarity.descriptors import Descriptor

BLOCK_COLUMNS = 4096
"""Targets and decoys that are in an index at any moment: a multiple of the 1,024 vectors that FAISS multiplies at once,
so that every product is the one that a single index of all vectors gives, to the last digit."""

BLOCK_BYTES = 64 * 2**20
"""Bytes of similarities, and of the generations' vectors, that are in memory at any moment."""

Vectors = npt.NDArray[np.generic]


@dataclass(frozen=True)
class CountedMatches(CrossMatches):
    """Coincidence that was counted row by row; the similarities themselves were not kept."""

    own: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    """(targets,): highest similarity of an image's generations to the image itself; -inf when none was scored."""
    counted: Others = field(default_factory=lambda: Others(0, float("-inf"), np.empty(0, np.int64)))
    """All unrelated pairs in numbers."""
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
        """Return what `CrossMatches.resembling` returns."""
        return list(self.closer.get(image_id, ()))


class _StoredVectors:
    """Rows of one shape in a temporary file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._empty: Vectors | None = None
        self.count = 0

    def add(self, vectors: Vectors) -> None:
        """Add rows at the end."""
        self._empty = vectors[:0]
        self._file.seek(0, 2)
        self._file.write(np.ascontiguousarray(vectors).tobytes())
        self.count += len(vectors)

    def read(self, start: int, stop: int) -> Vectors:
        """Return some of the rows."""
        if self._empty is None:
            raise ValueError("there are no rows yet")
        size = self._empty.dtype.itemsize * int(np.prod(self._empty.shape[1:]))
        self._file.seek(start * size)
        data = self._file.read((min(stop, self.count) - start) * size)
        return np.frombuffer(data, self._empty.dtype).reshape(-1, *self._empty.shape[1:])


class _Columns:
    """The targets and decoys of a folder, a block of them in an index at any moment."""

    def __init__(self, descriptor: Descriptor, vectors: _StoredVectors) -> None:
        self._descriptor, self._vectors = descriptor, vectors
        self._held: tuple[int, FlatIndex] | None = None

    def __len__(self) -> int:
        return self._vectors.count

    def add(self, vectors: Vectors) -> None:
        self._vectors.add(vectors)

    @property
    def dimension(self) -> int:
        """Numbers of a vector."""
        return self._descriptor.dimension

    def starts(self) -> range:
        """Return where blocks begin."""
        return range(0, len(self), BLOCK_COLUMNS)

    def best_in(self, start: int, generations: Vectors) -> npt.NDArray[np.float32]:
        """Return the highest similarity of any of an image's generations to each vector of a block."""
        if self._held is None or self._held[0] != start:
            vectors, index = self._vectors.read(start, start + BLOCK_COLUMNS), FlatIndex(self._descriptor)
            index.add([""] * len(vectors), vectors)
            self._held = start, index
        return np.asarray(self._held[1].similarities(generations).max(axis=0), dtype=np.float32)


@dataclass
class _Generations:
    """The vectors of every image's generations, in the order in which they came."""

    vectors: _StoredVectors
    places: list[int] = field(default_factory=list)
    """Row of each image among the targets."""
    ends: list[int] = field(default_factory=list)
    """For each, the number of vectors up to and with its own."""

    def add(self, place: int, vectors: Vectors) -> None:
        self.vectors.add(vectors)
        self.places.append(place)
        self.ends.append(self.vectors.count)

    def groups(self, columns: int, dimension: int) -> Iterator[list[tuple[int, Vectors]]]:
        """Yield some images at a time, with their vectors, so that their rows of the matrix have a bounded size."""
        group, size = list[tuple[int, Vectors]](), 0
        for place, start, stop in zip(self.places, [0, *self.ends], self.ends, strict=False):
            group.append((place, self.vectors.read(start, stop)))
            size += 4 * (columns + (stop - start) * dimension)
            if size >= BLOCK_BYTES:
                yield group
                group, size = [], 0
        if group:
            yield group


def cross_match(
    descriptor: Descriptor,
    targets: Iterable[tuple[str, Vectors]],
    generations: Iterable[tuple[str, Vectors]],
    *,
    decoys: Vectors | None = None,
    groups: Sequence[Sequence[str]] = (),
) -> CrossMatches:
    """Compare every generation of a rung with every target that has the rung and with decoys.

    targets:      id and one vector of the descriptor; taken one at a time
    generations:  id and the vectors of its frames that can be scored, one target at a time; ids are among the targets
    decoys:       (decoys, dimension): unrelated images
    groups:       near-duplicates among the targets
    """
    with tempfile.TemporaryFile() as of_targets, tempfile.TemporaryFile() as of_generations:
        ids, columns = list[str](), _Columns(descriptor, _StoredVectors(of_targets))
        for name, vector in targets:
            ids.append(name)
            columns.add(vector[None])
        if ids and decoys is not None and len(decoys):
            columns.add(decoys)
        place = {name: number for number, name in enumerate(ids)}
        own, waiting = np.full(len(ids), -np.inf, dtype=np.float32), _Generations(_StoredVectors(of_generations))
        for name, vectors in generations:
            if len(vectors):
                row = place[name]
                start = row - row % BLOCK_COLUMNS
                own[row] = columns.best_in(start, vectors)[row - start]
                waiting.add(row, vectors)
        return _count_matches(ids, columns, waiting, own, groups)


def _count_matches(
    ids: list[str],
    columns: _Columns,
    waiting: _Generations,
    own: npt.NDArray[np.float32],
    groups: Sequence[Sequence[str]],
) -> CountedMatches:
    """Compare a few images' generations with all columns at a time, and keep what conclusions need."""
    place = {name: number for number, name in enumerate(ids)}
    works = [[place[name] for name in group if name in place] for group in groups]
    related = {row: work for work in works for row in work}
    order = np.argsort(own)
    ordered, reached = own[order], np.zeros(len(own) + 1, dtype=np.int64)
    pairs, highest, closer = 0, float("-inf"), dict[str, list[tuple[str, float]]]()
    for row, best in _rows(columns, waiting):
        best[related.get(row, [row])] = -np.inf
        best[row] = -np.inf
        bound = max(float(own[row]), NEAR_COPY_CORRELATION)
        others = [(ids[one], float(best[one])) for one in np.flatnonzero(best[: len(ids)] > bound)]
        if others:
            closer[ids[row]] = sorted(others, key=lambda pair: -pair[1])
        known = best[np.isfinite(best)]
        pairs, highest = pairs + len(known), max(highest, float(known.max(initial=-np.inf)))
        # A pair at least as similar as the k smallest of the own similarities counts for these.
        reached += np.bincount(np.searchsorted(ordered, known, side="right"), minlength=len(reached))
    at_least = np.empty(len(own), dtype=np.int64)
    at_least[order] = reached[::-1].cumsum()[::-1][1:]
    nothing = np.empty((0, 0), dtype=np.float32)
    return CountedMatches(ids, nothing, groups, own, Others(pairs, highest, at_least), closer)


def _rows(columns: _Columns, waiting: _Generations) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """Yield for each image with generations its row, and the highest similarity to every target and decoy."""
    for group in waiting.groups(len(columns), columns.dimension):
        best = np.empty((len(group), len(columns)), dtype=np.float32)
        for start in columns.starts():
            for number, (_, vectors) in enumerate(group):
                best[number, start : start + BLOCK_COLUMNS] = columns.best_in(start, vectors)
        for number, (row, _) in enumerate(group):
            yield row, best[number]

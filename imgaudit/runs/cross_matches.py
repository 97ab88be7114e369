"""Generations compared with every target of a folder and with decoys, through one index."""

import tempfile
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from imgaudit.decision.coincidence import CrossMatches
from imgaudit.index import FlatIndex
from imgaudit.similarity.descriptors import Descriptor


def cross_match(
    descriptor: Descriptor,
    targets: Iterable[tuple[str, npt.NDArray[np.generic]]],
    generations: Iterable[tuple[str, npt.NDArray[np.generic]]],
    *,
    decoys: npt.NDArray[np.generic] | None = None,
    groups: Sequence[Sequence[str]] = (),
) -> CrossMatches:
    """Compare every generation of a rung with every target that has the rung and with decoys, through one index.

    targets:      id and one vector of the descriptor; taken one at a time, so that the index alone holds them all
    generations:  id and the vectors of its frames that can be scored, one target at a time; ids are among the targets
    decoys:       (decoys, dimension): unrelated images
    groups:       near-duplicates among the targets
    """
    ids, index = list[str](), FlatIndex(descriptor)
    for name, vector in targets:
        ids.append(name)
        index.add([name], vector[None])
    if ids and decoys is not None:
        index.add([f"decoy {number}" for number in range(len(decoys))], decoys)
    best = _matrix(len(ids), len(index))
    place = {name: number for number, name in enumerate(ids)}
    for name, vectors in generations:
        if len(vectors):
            best[place[name]] = index.similarities(vectors).max(axis=0)
    return CrossMatches(ids, best, groups)


def _matrix(rows: int, columns: int) -> npt.NDArray[np.float32]:
    """(rows, columns) of -inf in a file that goes with the matrix: the system keeps of it what memory has room for."""
    if rows * columns == 0:
        return np.full((rows, columns), -np.inf, dtype=np.float32)
    with tempfile.TemporaryFile() as file:
        best = np.memmap(file, dtype=np.float32, mode="w+", shape=(rows, columns))
    best[:] = -np.inf
    return best

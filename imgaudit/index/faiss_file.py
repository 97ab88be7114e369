"""FAISS indexes: built from vectors on disk, written atomically, mapped into memory where FAISS can, searched alike."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from imgaudit.exceptions import IndexRefusedError
from imgaudit.index.flat import count_gpus
from imgaudit.index.id_table import REBUILD
from imgaudit.index.index_types import CANDIDATES, EF_SEARCH, PROBES, TRAINED_PER_LIST, IndexTypeChoice, Kind

Vectors = npt.NDArray[np.generic]
"""(N, dimension) float32 of unit length, or (N, dimension / 8) uint8."""

ADDED = 65_536
"""Vectors that are added at once."""

CLASSES = {
    (Kind.FLAT, False): "IndexFlatIP",
    (Kind.FLAT, True): "IndexBinaryFlat",
    (Kind.HNSW, False): "IndexHNSWFlat",
    (Kind.HNSW, True): "IndexBinaryHNSW",
    (Kind.IVFPQ, False): "IndexRefineFlat",
    (Kind.IVF, True): "IndexBinaryIVF",
}
"""FAISS class that an index file must hold, by kind and whether its vectors are bits."""


def build_index(
    choice: IndexTypeChoice,
    vectors: Vectors,
    dimension: int,
    *,
    binary: bool,
    seed: int = 0,
    on_added: Callable[[int], None] = lambda done: None,
) -> Any:
    """Build a FAISS index of all vectors, which may be mapped from a file; it holds what its kind keeps in memory."""
    index = make_empty_index(choice, dimension, binary=binary)
    if choice.lists:
        index.train(draw_training_sample(choice, vectors, seed))
    for start in range(0, len(vectors), ADDED):
        index.add(np.ascontiguousarray(vectors[start : start + ADDED]))
        on_added(min(start + ADDED, len(vectors)))
    return index


def make_empty_index(choice: IndexTypeChoice, dimension: int, *, binary: bool) -> Any:
    """Make an index from the factory string of the chosen type."""
    if binary:
        return faiss.index_binary_factory(dimension, choice.factory)
    index: Any = faiss.index_factory(dimension, choice.factory, faiss.METRIC_INNER_PRODUCT)
    if choice.kind is Kind.IVFPQ:
        # Most of the training goes into an order of centroids that only a filter needs which nobody switches on.
        base: Any = faiss.downcast_index(index.base_index)
        base.do_polysemous_training = False
    return index


def draw_training_sample(choice: IndexTypeChoice, vectors: Vectors, seed: int) -> Vectors:
    """Draw vectors for the k-means of an index with inverted lists."""
    wanted = max(TRAINED_PER_LIST * choice.lists, 256 * TRAINED_PER_LIST)
    if wanted >= len(vectors):
        return np.ascontiguousarray(vectors)
    rows = np.random.default_rng(seed).choice(len(vectors), wanted, replace=False)
    return np.ascontiguousarray(vectors[np.sort(rows)])


def write_index(index: Any, path: Path, *, binary: bool) -> None:
    """Write an index to a new file and wait until it is on disk.

    Never over an existing one: another process may have it mapped, and would read the new bytes as the old index.
    """
    (faiss.write_index_binary if binary else faiss.write_index)(index, str(path))
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def read_index(path: Path, kind: Kind, dimension: int, count: int, *, binary: bool) -> Any:
    """Map an index. Raises IndexRefusedError when the file holds anything else than that."""
    flags = faiss.IO_FLAG_MMAP_IFC
    try:
        index: Any = (faiss.read_index_binary if binary else faiss.read_index)(str(path), flags)
    except RuntimeError as error:
        line = str(error).strip().splitlines()[-1]
        raise IndexRefusedError(f"FAISS cannot read {str(path)!r}: {line[-200:]}; {REBUILD}") from error
    found = type(index).__name__
    if found != CLASSES.get((kind, binary)):
        raise IndexRefusedError(f"{str(path)!r} holds a {found}, but its manifest speaks of {kind}; {REBUILD}")
    if index.d != dimension or index.ntotal != count:
        raise IndexRefusedError(
            f"{str(path)!r} holds {index.ntotal:,} vectors of {index.d}, but its manifest speaks of {count:,} of "
            f"{dimension}; {REBUILD}"
        )
    if not binary and index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise IndexRefusedError(f"{str(path)!r} does not compare by inner product; {REBUILD}")
    return _move_to_gpus(index) if kind is Kind.FLAT and not binary else index


def _move_to_gpus(index: Any) -> Any:
    """Copy the index to all GPUs where there are any with enough memory; exact search gains most from them."""
    if not count_gpus():
        return index
    try:
        return faiss.index_cpu_to_all_gpus(index)
    except RuntimeError:
        return index


def search_index(index: Any, kind: Kind, queries: Vectors, k: int) -> tuple[npt.NDArray[np.generic], Any]:
    """Return FAISS' own values (inner products or distances) and rows (n, k); rows are -1 where fewer were found."""
    set_effort(index, kind, k)
    values, rows = index.search(queries, k)
    return values, rows


def set_effort(index: Any, kind: Kind, k: int) -> None:
    """Set how many candidates a search for k compares: the one setting for building, measuring and using."""
    if kind is Kind.HNSW:
        index.hnsw.efSearch = max(EF_SEARCH, k)
    elif kind is Kind.IVF:
        index.nprobe = PROBES
    elif kind is Kind.IVFPQ:
        index.k_factor = max(4.0, CANDIDATES / k)
        base: Any = faiss.downcast_index(index.base_index)
        base.nprobe = PROBES


def search_exactly(vectors: Vectors, queries: Vectors, k: int, dimension: int, *, binary: bool) -> Any:
    """Return exact values (n, k), best first, of vectors that may be mapped from a file, read block by block."""
    best: npt.NDArray[np.generic] | None = None
    for start in range(0, len(vectors), ADDED):
        block = np.ascontiguousarray(vectors[start : start + ADDED])
        index: Any = faiss.IndexBinaryFlat(dimension) if binary else faiss.IndexFlatIP(dimension)
        index.add(block)
        values, _ = index.search(queries, min(k, len(block)))
        merged = values if best is None else np.concatenate([best, values], axis=1)
        merged = np.sort(merged, axis=1)
        best = merged[:, :k] if binary else merged[:, ::-1][:, :k]
    return best

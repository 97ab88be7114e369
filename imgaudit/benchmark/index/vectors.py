"""Synthetic vectors in clusters, made block by block from a seed, and queries that are near copies of stored ones."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

CLUSTER = 100
"""Vectors around one direction, on average."""

SPREAD = 0.75
"""Length of the noise around a cluster's unit direction: members have an inner product of about 0.64."""

QUERY_SPREAD = 0.4
"""Length of a query's noise: its inner product with what it copies is about 0.93."""

FLIPPED = 0.2
"""Share of a cluster's bits that each member changes: two members differ in about a third of their bits."""

QUERY_FLIPPED = 0.05
"""Share of bits that a query changes."""

BLOCK = 65_536


def make_vectors(path: Path, count: int, dimension: int, *, binary: bool, seed: int) -> None:
    """Write an .npy file of vectors, block by block."""
    columns, dtype = (dimension // 8, np.uint8) if binary else (dimension, np.float32)
    file = np.lib.format.open_memmap(path, "w+", dtype, (count, columns))
    for start, block in _blocks(count, dimension, binary=binary, seed=seed):
        file[start : start + len(block)] = block
    file.flush()


def make_queries(stored: npt.NDArray[Any], number: int, dimension: int, *, binary: bool, seed: int) -> npt.NDArray[Any]:
    """Copies of stored vectors, drawn with replacement and changed a little."""
    random = np.random.default_rng([seed, 2])
    chosen = stored[np.sort(random.integers(0, len(stored), number))]
    if binary:
        flipped = np.packbits(random.random((number, dimension)) < QUERY_FLIPPED, axis=1)
        return np.asarray(chosen ^ flipped)
    noise = random.standard_normal((number, dimension)) * (QUERY_SPREAD / dimension**0.5)
    return _unit(chosen.astype(np.float64) + noise)


def _blocks(count: int, dimension: int, *, binary: bool, seed: int) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    random = np.random.default_rng([seed, 1])
    clusters = max(1, count // CLUSTER)
    shape = (clusters, dimension)
    centres: npt.NDArray[Any]
    centres = random.random(shape, dtype=np.float32) < 0.5 if binary else _unit(random.standard_normal(shape))
    for start in range(0, count, BLOCK):
        size = min(BLOCK, count - start)
        around = centres[random.integers(0, clusters, size)]
        if binary:
            flipped = random.random((size, dimension), dtype=np.float32) < FLIPPED
            yield start, np.packbits(np.logical_xor(around, flipped), axis=1)
        else:
            noise = random.standard_normal((size, dimension), dtype=np.float32) * np.float32(SPREAD / dimension**0.5)
            yield start, _unit(around + noise)


def _unit(vectors: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)

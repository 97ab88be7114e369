"""Vectors and collections for tests."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from imgaudit.index import BuildOptions, Collection, Kind, SourceInput, build_collection


def unit_vectors(count: int, dimension: int = 16, seed: int = 0) -> npt.NDArray[np.float32]:
    """Random directions."""
    values = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True), np.float32)


def packed_bits(count: int, dimension: int = 64, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Random bits."""
    return np.random.default_rng(seed).integers(0, 256, (count, dimension // 8), dtype=np.uint8)


def collection_of(
    folder: Path, vectors: npt.NDArray[np.generic], kind: Kind | None = None, shard_vectors: int | None = None
) -> Collection:
    """A collection of given vectors, their ids `vectors.npy/ROW`."""
    folder.mkdir(exist_ok=True)
    np.save(folder / "vectors.npy", vectors)
    options = BuildOptions("given", kind, shard_vectors)
    build_collection(folder / "collection", [SourceInput(folder / "vectors.npy")], options)
    return Collection.open(folder / "collection")

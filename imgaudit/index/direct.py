"""FAISS used directly, as somebody would without a collection: what ours is measured against."""

from pathlib import Path
from typing import Any

import faiss
import numpy as np

from imgaudit.index.faiss_file import ADDED, Vectors, draw_training_sample, make_empty_index, set_effort, write_index
from imgaudit.index.index_types import IndexTypeChoice


class DirectIndex:
    """One FAISS index in one file: built, mapped and searched with nothing around it."""

    def __init__(self, path: Path, choice: IndexTypeChoice, dimension: int, *, binary: bool) -> None:
        self.path, self.choice, self.dimension, self.binary = path, choice, dimension, binary
        self._index: Any = None

    def build(self, vectors: Vectors) -> None:
        """Train, add and write, with the same training sample as a collection's."""
        index = make_empty_index(self.choice, self.dimension, binary=self.binary)
        if self.choice.lists:
            index.train(draw_training_sample(self.choice, vectors, 0))
        for start in range(0, len(vectors), ADDED):
            index.add(np.ascontiguousarray(vectors[start : start + ADDED]))
        write_index(index, self.path, binary=self.binary)

    def open(self) -> "DirectIndex":
        """Map the file."""
        read = faiss.read_index_binary if self.binary else faiss.read_index
        self._index = read(str(self.path), faiss.IO_FLAG_MMAP_IFC)
        return self

    def search(self, queries: Vectors, k: int) -> None:
        """Run FAISS' own search in the blocks of queries that a collection uses; its values and rows are dropped."""
        set_effort(self._index, self.choice.kind, k)
        for start in range(0, len(queries), 1024):
            self._index.search(queries[start : start + 1024], k)

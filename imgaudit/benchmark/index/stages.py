"""The stages of the index benchmark, each run in a fresh process that reports its time and its peak memory.

python -m imgaudit.benchmark.index.stages STAGE ARGUMENTS-AS-JSON
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imgaudit.benchmark.harness.peak_memory import peak_memory
from imgaudit.benchmark.index.vectors import make_queries, make_vectors
from imgaudit.index import BuildOptions, Collection, IndexTypeChoice, Kind, SourceInput, build_collection
from imgaudit.index.direct import DirectIndex
from imgaudit.index.shards import INDEX

QUERIES = 2_000
"""Queries of a timed search, searched in blocks of 1,024 by both sides; the exact search is asked fewer."""

EXACT_QUERIES = 1_000
"""Queries that the exact search by numpy is asked."""

BINARY_EXACT_QUERIES = 200
"""The same for bits, which numpy compares one query at a time."""

PAIRS = 15
"""Timed pairs of our search and FAISS' own, at least."""

MOST_PAIRS = 301
"""The same, at most."""

TIMED = 20.0
"""Seconds that timed pairs may take where they are more than the least: quick searches need more of them."""

TIE = 1e-5
"""Inner products that differ by less are the same."""


@dataclass(frozen=True)
class StageInput:
    """What a stage works on."""

    folder: str
    count: int
    dimension: int
    binary: bool
    seed: int
    wanted: str | None = None
    factory: str = ""

    @property
    def vectors_path(self) -> Path:
        """The stored vectors."""
        return Path(self.folder) / "vectors.npy"

    @property
    def collection_path(self) -> Path:
        """Our collection."""
        return Path(self.folder) / "collection"

    @property
    def direct_path(self) -> Path:
        """FAISS' own index."""
        return Path(self.folder) / "direct.faiss"

    @property
    def queries_path(self) -> Path:
        """The queries."""
        return Path(self.folder) / "queries.npy"

    @property
    def kind(self) -> Kind:
        """The kind of the index."""
        names = {"HNSW": Kind.HNSW, "PQ": Kind.IVFPQ, "IVF": Kind.IVF}
        return next((kind for part, kind in names.items() if part in self.factory), Kind.FLAT)

    @property
    def direct(self) -> DirectIndex:
        """FAISS used directly."""
        choice = IndexTypeChoice(kind=self.kind, factory=self.factory, reason="the same as the collection's")
        return DirectIndex(self.direct_path, choice, self.dimension, binary=self.binary)


def run_stage(stage: str, arguments: Sequence[Any], threads: int) -> dict[str, Any]:
    """Run a stage in a fresh process. Raises RuntimeError with what it wrote when it fails."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "imgaudit.benchmark.index.stages", stage, json.dumps(arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"stage {stage} of {list(arguments)} failed: {done.stderr[-2000:]}")
    value: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return value


def make(case: StageInput) -> dict[str, Any]:
    """Vectors and queries."""
    make_vectors(case.vectors_path, case.count, case.dimension, binary=case.binary, seed=case.seed)
    stored = np.load(case.vectors_path, mmap_mode="r")
    queries = make_queries(stored, QUERIES, case.dimension, binary=case.binary, seed=case.seed)
    np.save(case.queries_path, queries)
    return {}


def build(case: StageInput) -> dict[str, Any]:
    """Our collection."""
    started = time.perf_counter()
    options = BuildOptions("synthetic", Kind(case.wanted) if case.wanted else None)
    manifest = build_collection(case.collection_path, [SourceInput(case.vectors_path)], options)
    seconds = time.perf_counter() - started
    size = sum(path.stat().st_size for path in case.collection_path.rglob("*") if path.is_file())
    (shard,) = manifest.shards
    return {"seconds": seconds, "factory": shard.factory, "bytes": size}


def build_faiss(case: StageInput) -> dict[str, Any]:
    """FAISS' own index of the same vectors."""
    started = time.perf_counter()
    case.direct.build(np.load(case.vectors_path, mmap_mode="r"))
    return {"seconds": time.perf_counter() - started}


def search(case: StageInput) -> dict[str, Any]:
    """Our collection, opened and asked once."""
    started = time.perf_counter()
    collection = Collection.open(case.collection_path)
    opened = time.perf_counter() - started
    lines = collection.search(np.load(case.queries_path), 1)
    return {"open_seconds": opened, "found": [line[0].similarity if line else -1.0 for line in lines]}


def search_faiss(case: StageInput) -> dict[str, Any]:
    """FAISS' own index, read and asked once."""
    case.direct.open().search(np.load(case.queries_path), 1)
    return {}


def compare(case: StageInput) -> dict[str, Any]:
    """Seconds of both in turns, in one process, so that what else the machine does meets both."""
    collection = Collection.open(case.collection_path)
    # FAISS searches the collection's own file: where two files happen to lie in memory must make no difference.
    shard = collection.folder / "shards" / collection.shards[0].record.name / INDEX
    direct = DirectIndex(shard, case.direct.choice, case.dimension, binary=case.binary).open()
    queries = np.load(case.queries_path)
    collection.search(queries, 1)
    direct.search(queries, 1)
    started = time.perf_counter()
    collection.search(queries, 1)
    pairs = min(MOST_PAIRS, max(PAIRS, int(TIMED / (2 * (time.perf_counter() - started)))))
    ours, theirs, read = list[float](), list[float](), list[float]()
    for number in range(pairs):
        # Whoever is second finds the caches warm, so they take turns at that too.
        order = [(ours, collection.search), (theirs, direct.search)]
        for seconds, work in order if number % 2 else reversed(order):
            started = time.perf_counter()
            work(queries, 1)
            seconds.append(time.perf_counter() - started)
    # Apart from the pairs: the objects that a caller makes of what was found.
    found = collection.search(queries, 1)
    for _ in range(PAIRS):
        started = time.perf_counter()
        list(found)
        read.append(time.perf_counter() - started)
    return {"ours": ours, "faiss": theirs, "read": read, "queries": len(queries)}


def numpy_search(case: StageInput) -> dict[str, Any]:
    """Every vector compared with every query by numpy."""
    stored = np.load(case.vectors_path, mmap_mode="r")
    queries = np.load(case.queries_path)[: BINARY_EXACT_QUERIES if case.binary else EXACT_QUERIES]
    best = np.full(len(queries), -np.inf)
    started = time.perf_counter()
    for start in range(0, case.count, 16_384):
        block = np.asarray(stored[start : start + 16_384])
        if case.binary:
            words = block.view(np.uint64)
            for row, query in enumerate(queries.view(np.uint64)):
                distance = np.bitwise_count(words ^ query).sum(axis=1, dtype=np.uint16).min()
                best[row] = max(best[row], 1 - float(distance) / case.dimension)
        else:
            best = np.maximum(best, (queries @ block.T).max(axis=1))
    seconds = time.perf_counter() - started
    return {"queries_per_second": len(queries) / seconds, "truth": {"best": best.tolist()}}


STAGES: dict[str, Callable[[StageInput], dict[str, Any]]] = {
    "make": make, "build": build, "build_faiss": build_faiss, "search": search, "search_faiss": search_faiss,
    "compare": compare, "numpy": numpy_search,
}  # fmt: skip


def main() -> None:
    """Run the stage that the command line names."""
    stage, arguments = sys.argv[1:]
    imported = peak_memory()
    result = STAGES[stage](StageInput(*json.loads(arguments)))
    sys.stdout.write(json.dumps(result | {"peak": peak_memory() - imported}) + "\n")


if __name__ == "__main__":
    main()

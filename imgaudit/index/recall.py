"""How often an index finds what an exact search finds, measured on its own vectors when it is built."""

from typing import Any

import numpy as np

from imgaudit.index.faiss_file import Vectors, search_exactly, search_index
from imgaudit.index.index_types import Kind
from imgaudit.index.manifest import IndexRecall
from imgaudit.schema.records import Skipped
from imgaudit.statistics import clopper_pearson

QUERIES = 500
"""Vectors that are looked for."""

TIE = 1e-5
"""Inner products that differ by less are the same: float32 sums depend on their order."""

EXACT = Skipped(skipped="the search is exact")
"""Reason that the recall of a flat index is not measured."""


def measure_recall(
    index: Any, kind: Kind, vectors: Vectors, dimension: int, *, binary: bool, seed: int = 0, queries: int = QUERIES
) -> IndexRecall | Skipped:
    """Measure recall@1 among the other vectors: how often the best other match is as similar as the exact one.

    That is harder than finding a copy: what is nearest to a vector may be nearest among many that are about as near.
    """
    if kind is Kind.FLAT:
        return EXACT
    if len(vectors) < 2:
        return Skipped(skipped="there is no other vector to find")
    rows = np.random.default_rng(seed).choice(len(vectors), min(queries, len(vectors)), replace=False)
    asked = np.ascontiguousarray(vectors[np.sort(rows)])
    # The query itself is the first of both; copies of it count as others.
    exact = search_exactly(vectors, asked, 2, dimension, binary=binary)[:, 1].astype(np.float64)
    values, found = search_index(index, kind, asked, 2)
    itself = found == np.sort(rows)[:, None]
    others = np.where(itself | (found < 0), np.inf if binary else -np.inf, values.astype(np.float64))
    hit = others.min(axis=1) <= exact if binary else others.max(axis=1) >= exact - TIE
    hits, n = int(hit.sum()), len(asked)
    low, high = clopper_pearson(hits, n)
    return IndexRecall(hits=hits, n=n, low=low, high=high, seed=seed)

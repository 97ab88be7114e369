#!/usr/bin/env bash
# Exact copies of one image make an HNSW graph lose images that have nothing to do with it.
#
# Expected: copies of one vector crowd each other at most; the search for any other vector, itself in the index, is as
# good as without them (here: all 300 find themselves).
# Seen: with 3000 copies of one vector beside 2000 different ones, a quarter to a half of those, searched with their own
# vector, are not found at efSearch 64 (the share varies with the order of adding).
# Why (as far as the source tells): a node keeps those links that are not closer to another kept neighbour than to
# itself. All copies are at distance 0 from each other, so they link to one another, and the links that led to the rest
# of the graph are pruned.
# Why it matters: web-scraped training sets have captions and pictures repeated thousands of times, and repeated
# pictures are the ones that models reproduce. The graph then says "not in the training set" of unrelated pictures.
# Remove exact duplicates before the graph is built, and measure recall on the real collection.
#
# Package: faiss-cpu 1.15.1. Where: faiss/impl/HNSW.cpp, HNSW::shrink_neighbor_list.
set -euo pipefail

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check faiss-cpu==1.15.1 numpy==2.4.6 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > show.py << 'PYTHON'
from importlib.metadata import version

import faiss
import numpy as np

rng = np.random.default_rng(0)
different = rng.standard_normal((2000, 32)).astype(np.float32)
faiss.normalize_L2(different)
copy = rng.standard_normal((1, 32)).astype(np.float32)
faiss.normalize_L2(copy)


def build(links, copies):
    order = np.random.default_rng(1).permutation(2000 + copies)
    vectors = np.concatenate([different, np.repeat(copy, copies, 0)])[order]
    index = faiss.IndexHNSWFlat(32, links)
    index.add(np.ascontiguousarray(vectors))
    index.hnsw.efSearch = 64
    rows = np.flatnonzero(order < 2000)[:300]
    _, found = index.search(np.ascontiguousarray(vectors[rows]), 1)
    return (found[:, 0] == rows).mean()


print("faiss-cpu", version("faiss-cpu"))
print("no copies: all find themselves:", build(32, 0) == 1)
print("3000 copies: fewer than 85 % find themselves:", build(32, 3000) < 0.85)
PYTHON

cat > expected.txt << 'EXPECTED'
faiss-cpu 1.15.1
no copies: all find themselves: True
3000 copies: fewer than 85 % find themselves: True
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi

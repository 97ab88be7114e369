#!/usr/bin/env bash
# Where FAISS finds fewer than k, two kinds of index fill up with distances that read as close or as ordinary matches.
#
# Expected: places without a result have id -1 and the worst possible distance, so that any threshold drops them:
# 2147483647 in binary indexes, 3.4e38 for L2, -3.4e38 for inner products. The flat, IVF and float HNSW indexes do so.
# Seen: IndexBinaryHNSW fills with -2147483648, the *smallest* int, so that `distance <= 31` accepts every missing
# result as closer than an exact copy, and `1 - distance / 256` is a similarity of eight million. An index for fast scan
# (PQ..x4fs) fills with an ordinary finite number of the same size as its real scores, here between 0 and -2.
# Why (as far as the source tells): the binary graph search keeps distances as floats and converts the float sentinel,
# which no int can hold (the result shown is that of x86-64). Fast scan keeps 16-bit integers, and scales the sentinel
# back like any other score.
# Why it matters: PDQ hashes are searched with exactly that threshold. Test the ids for -1, never the distances.
#
# Package: faiss-cpu 1.15.1. Where: faiss/IndexBinaryHNSW.cpp, IndexBinaryHNSW::search (the last loop), and
# faiss/impl/simd_result_handlers.h (HeapHandler::end, with the normalizers of the tables).
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
hashes = rng.integers(0, 256, (3, 32), dtype=np.uint8)
print("faiss-cpu", version("faiss-cpu"))
for kind in ("BFlat", "BIVF1", "BHNSW16"):
    index = faiss.index_binary_factory(256, kind)
    index.train(hashes)
    index.add(hashes)
    distances, ids = index.search(hashes[:1], 5)
    print(kind, "missing", distances[ids < 0].tolist(), "accepted by <= 31:", int((distances <= 31).sum()))
vectors = rng.standard_normal((700, 16)).astype(np.float32)
faiss.normalize_L2(vectors)
for kind in ("PQ4x4", "PQ4x4fs"):
    index = faiss.index_factory(16, kind, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors[:3])
    scores, ids = index.search(vectors[:1], 5)
    print(kind, "missing reads as an ordinary score:", bool((np.abs(scores[ids < 0]) < 2).all()))
PYTHON

cat > expected.txt << 'EXPECTED'
faiss-cpu 1.15.1
BFlat missing [2147483647, 2147483647] accepted by <= 31: 1
BIVF1 missing [2147483647, 2147483647] accepted by <= 31: 1
BHNSW16 missing [-2147483648, -2147483648] accepted by <= 31: 3
PQ4x4 missing reads as an ordinary score: False
PQ4x4fs missing reads as an ordinary score: True
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi

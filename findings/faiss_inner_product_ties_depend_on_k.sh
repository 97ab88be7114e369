#!/usr/bin/env bash
# With inner products the first of several exact copies changes with k: k=1 names the first copy, k=5 the fifth.
#
# Expected: equal scores are listed in the order they were added, as IndexFlatL2 does, and asking for more results does
# not change the first ones.
# Seen: IndexFlatIP picks the k copies that were added first, but lists them last added first. So the top hit is row 0
# for k=1, row 4 for k=5 and row 98 for k=99. L2 distances over the same vectors give row 0 each time.
# Why (as far as the source tells): the heap that keeps the k best compares ids too where scores are equal, and in a
# heap of similarities that order is the reverse of what it is in a heap of distances.
# Why it matters: a report names the training image that a generated one matches. Where it is in the set several times,
# the name (and with it its caption, source and licence) depends on how many results somebody asked for, and two runs of
# one audit with different k cite different images. Sort by (-score, id) before naming one.
#
# Package: faiss-cpu 1.15.1. Where: faiss/utils/Heap.h (heap_reorder, cmp2 of CMin and CMax in
# faiss/utils/ordered_key_value.h).
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

vector = np.zeros((1, 16), dtype=np.float32)
vector[0, 3] = 1
print("faiss-cpu", version("faiss-cpu"))
for kind in (faiss.IndexFlatL2, faiss.IndexFlatIP):
    index = kind(16)
    index.add(np.repeat(vector, 300, 0))
    found = {k: index.search(vector, k)[1][0].tolist() for k in (1, 5, 99)}
    print(kind.__name__, "first hit", {k: rows[0] for k, rows in found.items()}, "for k=5", found[5])
PYTHON

cat > expected.txt << 'EXPECTED'
faiss-cpu 1.15.1
IndexFlatL2 first hit {1: 0, 5: 0, 99: 0} for k=5 [0, 1, 2, 3, 4]
IndexFlatIP first hit {1: 0, 5: 4, 99: 98} for k=5 [4, 3, 2, 1, 0]
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi

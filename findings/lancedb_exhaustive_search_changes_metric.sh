#!/usr/bin/env bash
# In LanceDB the exhaustive search that is to check an index measures another distance than the index.
#
# Expected: bypass_vector_index only leaves the index out; its docstring names it for the "ground truth" from which the
# recall of an index is computed. An index by cosine is then compared with an exhaustive search by cosine. The manual
# says that where there is an index, the metric is the index's.
# Seen: of 100 searches in 2000 images, through an index by cosine that looks at all its partitions and stores the
# vectors unchanged, all 1000 of the ten nearest are right. The exhaustive search has 505 of them, so that the recall of
# the perfect index comes out as 0.505. Below a distance of 0.2 the index finds the original in all 100 searches, the
# exhaustive search finds nothing at all. With the metric named in the query it agrees with the index. Nothing warns.
# Why: a query that names no metric takes that of the index. With the index left out it takes the default, l2.
# Why it matters: an audit checks that its search misses no copy in just this way, or searches without the index to be
# sure, with the threshold that it has always used. The check then condemns a good index, and the careful search misses
# every copy. Vectors of length 1 keep their order, but not their distances. Name the metric in each query.
#
# Package: lancedb 0.40.0. The docstring of distance_type says "By default l2", which is not so with an index; that of
# bypass_vector_index names no metric. Where: distance_type and bypass_vector_index of LanceVectorQueryBuilder in
# lancedb/query.py (the default is chosen in the compiled part).
set -euo pipefail

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check lancedb==0.40.0 pyarrow==26.0.1 numpy==2.4.6 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > show.py << 'PYTHON'
from importlib.metadata import version

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import IvfFlat

IMAGES, SIZE, SEARCHES, NEAREST, PARTITIONS, THRESHOLD = 2000, 32, 100, 10, 4, 0.2

random = np.random.default_rng(0)
lengths = random.uniform(0.5, 2, (IMAGES, 1))
images = (random.normal(size=(IMAGES, SIZE)) * lengths).astype(np.float32)
originals = random.choice(IMAGES, SEARCHES, replace=False)
lengths = random.uniform(0.5, 2, (SEARCHES, 1))
generated = ((images[originals] + 0.1 * random.normal(size=(SEARCHES, SIZE))) * lengths).astype(np.float32)

unit, unit_generated = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (images, generated))
nearest = np.argsort(1 - unit_generated @ unit.T, axis=1)[:, :NEAREST]  # by cosine

vectors = pa.FixedSizeListArray.from_arrays(images.ravel(), SIZE)
table = lancedb.connect("database").create_table("images", pa.table({"id": range(IMAGES), "vector": vectors}))
table.create_index("vector", config=IvfFlat(distance_type="cosine", num_partitions=PARTITIONS))

WAYS = {
    "index": lambda query: query.nprobes(PARTITIONS),
    "exhaustive": lambda query: query.bypass_vector_index(),
    "exhaustive, metric named": lambda query: query.bypass_vector_index().distance_type("cosine"),
}
print("lancedb", version("lancedb"), "index by", table.index_stats("vector_idx").distance_type)
for name, prepare in WAYS.items():
    right = found = 0
    for vector, original, known in zip(generated, originals, nearest, strict=True):
        answer = prepare(table.search(vector)).limit(NEAREST).to_list()
        right += len({row["id"] for row in answer} & set(known))
        answer = prepare(table.search(vector)).distance_range(upper_bound=THRESHOLD).limit(NEAREST).to_list()
        found += original in [row["id"] for row in answer]
    print(f"{name}: {right} of {nearest.size} nearest by cosine,", end=" ")
    print(f"original below {THRESHOLD} in {found} of {SEARCHES} searches")
PYTHON

cat > expected.txt << 'EXPECTED'
lancedb 0.40.0 index by cosine
index: 1000 of 1000 nearest by cosine, original below 0.2 in 100 of 100 searches
exhaustive: 505 of 1000 nearest by cosine, original below 0.2 in 0 of 100 searches
exhaustive, metric named: 1000 of 1000 nearest by cosine, original below 0.2 in 100 of 100 searches
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi

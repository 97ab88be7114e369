#!/usr/bin/env bash
# If a search finds one image only, ranx gives it the score 0 before fusing, and it ends behind everything else.
#
# Expected: fuse brings the scores of two searches to one scale, 0 to 1, and adds them. What one search has in its first
# place, with a score of 0.9 or more, is then at or near the top.
# Seen: a search by hash reports the copy only, one by embedding ten other images. After fusing, the copy is last in all
# 100 searches, with the score 0 (as has the worst of the others). It is first in all of them if the hash search
# reports a second, unrelated image besides, with 0.5. Two equally good copies are last again. So it is with the norms
# min-max (the default) and sum; with zmuv the copy is in the middle. With max and rank it is first in each case. No
# warning says so.
# Why: the lowest score of a list becomes 0, and the only one is the lowest. Where the highest and the lowest are equal,
# their difference is replaced by a tiny number, so that 0 is divided by that.
# Why it matters: searches with a threshold (hashes, local features) answer with one image just where there is a copy,
# and with several that are equal where the collection holds it more than once. The surest finds are those which lose
# their whole score. An audit that looks at the first candidates of the fused list misses them.
#
# Package: ranx 0.3.21. The docstrings name no such case (Anserini, for one, gives 1 there). Where: _min_max_norm in
# ranx/normalization/min_max_norm.py, with the same in sum_norm.py and zmuv_norm.py.
set -euo pipefail

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NUMBA_NUM_THREADS=1
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check ranx==0.3.21 numba==0.68.1 numpy==2.4.6 pandas==3.1.1 scipy==1.17.1 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > show.py << 'PYTHON'
from importlib.metadata import version

import numpy as np
from ranx import Run, fuse

SEARCHES, OTHERS = 100, 10

random = np.random.default_rng(0)
names = [f"search {number:03}" for number in range(SEARCHES)]
by_embedding = {name: {f"other {n}": random.uniform(0.3, 0.6) for n in range(OTHERS)} for name in names}
copy_alone = {name: {"copy": random.uniform(0.9, 1.0)} for name in names}
BY_HASH = {
    "the copy alone": copy_alone,
    "the copy and an unrelated image": {name: {**one, "unrelated": 0.5} for name, one in copy_alone.items()},
    "the copy and the same copy again": {name: {**one, "again": one["copy"]} for name, one in copy_alone.items()},
}


def count_places(run, better):
    """The searches in which no image (other than the second copy) is better than, or as good as, the copy."""
    count = 0
    for found in run.to_dict().values():
        others = [score for name, score in found.items() if name not in ("copy", "again")]
        count += all(better(found["copy"], score) for score in others)
    return count


print("ranx", version("ranx"))
for title, by_hash in BY_HASH.items():
    print("by hash,", title)
    for norm in ("min-max", "sum", "zmuv", "max", "rank"):
        fused = fuse([Run(by_hash), Run(by_embedding)], norm=norm, method="sum")
        first = count_places(fused, lambda copy, other: copy >= other)
        last = count_places(fused, lambda copy, other: copy <= other)
        zero = sum(found["copy"] == 0 for found in fused.to_dict().values())
        print(f"  {norm}: the copy is first in {first}, last in {last}, has the score 0 in {zero} of {SEARCHES}")
PYTHON

cat > expected.txt << 'EXPECTED'
ranx 0.3.21
by hash, the copy alone
  min-max: the copy is first in 0, last in 100, has the score 0 in 100 of 100
  sum: the copy is first in 0, last in 100, has the score 0 in 100 of 100
  zmuv: the copy is first in 0, last in 0, has the score 0 in 100 of 100
  max: the copy is first in 100, last in 0, has the score 0 in 0 of 100
  rank: the copy is first in 100, last in 0, has the score 0 in 0 of 100
by hash, the copy and an unrelated image
  min-max: the copy is first in 100, last in 0, has the score 0 in 0 of 100
  sum: the copy is first in 100, last in 0, has the score 0 in 0 of 100
  zmuv: the copy is first in 4, last in 0, has the score 0 in 0 of 100
  max: the copy is first in 100, last in 0, has the score 0 in 0 of 100
  rank: the copy is first in 100, last in 0, has the score 0 in 0 of 100
by hash, the copy and the same copy again
  min-max: the copy is first in 0, last in 100, has the score 0 in 100 of 100
  sum: the copy is first in 0, last in 100, has the score 0 in 100 of 100
  zmuv: the copy is first in 0, last in 0, has the score 0 in 100 of 100
  max: the copy is first in 100, last in 0, has the score 0 in 0 of 100
  rank: the copy is first in 100, last in 0, has the score 0 in 0 of 100
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi

#!/usr/bin/env bash
# By hyppo's Hsic the same two columns depend on each other or not, for the unit of one or for which is named first.
#
# Expected: a measure of dependence is the same for (x, y) and (y, x). "The default choice is the Gaussian kernel, which
# uses the median distance as the bandwidth" (docstring), so that it is also the same whether a distance is given from 0
# to 1 or from 0 to 1000.
# Seen: 100 similarities and 100 numbers that follow them have 0.30 and p < 0.001. If the second column is given in a
# unit that makes it 1000 times as large, they have 0.00 and p = 0.42; with the columns changed over, 0.37 and p <
# 0.001. In a unit that makes it 1000 times as small, it is the other way round. A bent relation of 0.27 is lost in both
# orders where the second column is 1000 times as large. Where each column has its own median distance as the bandwidth,
# both are 0.34 in every unit and order.
# Why: the bandwidth is taken from the first column only and used for both. To a bandwidth that is far too small every
# two values of the second column are equally unlike; to one that is far too large, a bend is not visible.
# Why it matters: whether the similarity of a generated image depends on how often the original was in the training set,
# or on its size, is asked with columns of very different units. Nothing is found then in data where it is plain, and
# "no evidence of dependence" is reported. Divide each column by its own median distance first, or hand over kernels.
#
# Package: hyppo 0.5.2. Source that is relied on: the docstring of hyppo.independence.Hsic. Where: compute_kern in
# hyppo/tools/common.py (gamma).
set -euo pipefail

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NUMBA_NUM_THREADS=1
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check hyppo==0.5.2 numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1 numba==0.68.1 pandas==3.0.6 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > show.py << 'PYTHON'
from importlib.metadata import version

import numpy as np
from hyppo.independence import Hsic
from scipy.spatial.distance import pdist, squareform

IMAGES, UNITS = 100, (0.001, 1, 1000)


def describe(answer):
    return f"{answer[0]:.2f} ".replace("-0.00", "0.00") + ("p < 0.001" if answer[1] < 0.001 else f"p = {answer[1]:.2f}")


def make_kernel(column):
    """With the column's own median distance as the bandwidth."""
    distance = squareform(pdist(column))
    return np.exp(-((distance / np.median(pdist(column))) ** 2) / 2)


random = np.random.default_rng(0)
similarity = random.random((IMAGES, 1))
noise = random.normal(size=(IMAGES, 1))
OTHERS = {"follows": similarity + 0.3 * noise, "bent": 4 * abs(similarity - 0.5) + 0.1 * noise, "unrelated": noise}

print("hyppo", version("hyppo"))
for name, other in OTHERS.items():
    for unit in UNITS:
        column = other * unit
        one_way, other_way = Hsic().test(similarity, column), Hsic().test(column, similarity)
        own = Hsic(compute_kernel=None).test(make_kernel(similarity), make_kernel(column))
        print(f"{name}, times {unit}: {describe(one_way)}; changed over {describe(other_way)};", end=" ")
        print(f"each its own bandwidth {describe(own)}")
PYTHON

cat > expected.txt << 'EXPECTED'
hyppo 0.5.2
follows, times 0.001: 0.41 p < 0.001; changed over 0.00 p = 0.34; each its own bandwidth 0.34 p < 0.001
follows, times 1: 0.30 p < 0.001; changed over 0.36 p < 0.001; each its own bandwidth 0.34 p < 0.001
follows, times 1000: 0.00 p = 0.42; changed over 0.37 p < 0.001; each its own bandwidth 0.34 p < 0.001
bent, times 0.001: 0.36 p < 0.001; changed over 0.05 p = 0.01; each its own bandwidth 0.34 p < 0.001
bent, times 1: 0.27 p < 0.001; changed over 0.11 p < 0.001; each its own bandwidth 0.34 p < 0.001
bent, times 1000: 0.01 p = 0.21; changed over 0.00 p = 0.44; each its own bandwidth 0.34 p < 0.001
unrelated, times 0.001: -0.01 p = 0.55; changed over -0.03 p = 1.00; each its own bandwidth 0.00 p = 0.38
unrelated, times 1: -0.01 p = 1.00; changed over 0.00 p = 0.39; each its own bandwidth 0.00 p = 0.38
unrelated, times 1000: -0.01 p = 0.63; changed over 0.00 p = 0.38; each its own bandwidth 0.00 p = 0.38
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi

#!/usr/bin/env bash
# By dcor's energy test pictures and the same pictures 128 levels brighter are equal, if they are read as 8-bit numbers.
#
# Expected: the energy distance of two sets is 0 only if they are alike, and does not depend on the type in which the
# same whole numbers are kept. The module of the distances says that it leaves them to SciPy, which calculates with
# doubles, wherever the conversion loses nothing; that is so for numbers of 8 bits.
# Seen: 30 pictures and the same 128 levels brighter are at 22757 with p = 0.01 in float64 and int64, and at 0 with p = 1
# in uint8. Pictures 10 levels brighter have p = 0.01 as float64 and 0.29 as uint8. In int8 two sets that were drawn alike
# have the statistic NaN and p = 0.01, where float64 has p = 0.37.
# Why: SciPy is never asked (the test for NumPy's arrays is false for all of them). The differences and their squares are
# taken in the type of the data, so that they are what is left after division by 256. 128 levels more change nothing of
# that. In int8 a sum may be negative and has no root; no permutation is as large as NaN, which is taken for the strongest
# result.
# Why it matters: pictures are read as uint8, and embeddings are often stored as int8. Whether generated and training
# images have the same distribution is answered from the remainders: yes for sets that have nothing in common, no for
# sets that are alike. For uint8 nothing warns; for int8 NumPy does, of an invalid value. Convert to
# float64 before the call.
#
# Package: dcor 0.7. Source that is relied on: the docstrings of dcor.homogeneity.energy_test and of dcor.distances. (The
# closed issue 59 of its tracker is on large whole numbers in the distance covariance of single columns.) Where:
# _cdist_naive in dcor/distances.py, _can_be_numpy_double in dcor/_utils.py.
set -euo pipefail

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NUMBA_NUM_THREADS=1
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check dcor==0.7 numpy==2.4.6 scipy==1.17.1 numba==0.68.1 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > show.py << 'PYTHON'
import warnings
from importlib.metadata import version

import numpy as np
from dcor.homogeneity import energy_test

PICTURES, PIXELS = 30, 64
random = np.random.default_rng(0)


def make(low, high):
    return random.integers(low, high, (PICTURES, PIXELS))


def show(title, one, other, types):
    print(title, end=":")
    for kind in types:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            test = energy_test(one.astype(kind), other.astype(kind), num_resamples=99, random_state=0)
        warned = ", warns" if caught else ""
        print(f" {kind} {test.statistic:.0f} p = {test.pvalue:.2f}{warned}", end=";")
    print()


print("dcor", version("dcor"))
dark = make(0, 100)
show("pictures and the same 128 levels brighter", dark, dark + 128, ("float64", "int64", "uint8"))
show("pictures and others 10 levels brighter", dark, make(10, 110), ("float64", "int64", "uint8"))
show("pictures and others 60 levels brighter", dark, make(60, 160), ("float64", "int64", "uint8"))
show("pictures and others like them", dark, make(0, 100), ("float64", "int64", "uint8"))
show("embeddings and others like them", make(-60, 60), make(-60, 60), ("float64", "int64", "int8"))
PYTHON

cat > expected.txt << 'EXPECTED'
dcor 0.7
pictures and the same 128 levels brighter: float64 22757 p = 0.01; int64 22757 p = 0.01; uint8 0 p = 1.00;
pictures and others 10 levels brighter: float64 541 p = 0.01; int64 541 p = 0.01; uint8 85 p = 0.29;
pictures and others 60 levels brighter: float64 7440 p = 0.01; int64 7440 p = 0.01; uint8 117 p = 0.01;
pictures and others like them: float64 319 p = 0.49; int64 319 p = 0.49; uint8 79 p = 0.59;
embeddings and others like them: float64 412 p = 0.37; int64 412 p = 0.37; int8 nan p = 0.01, warns;
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi

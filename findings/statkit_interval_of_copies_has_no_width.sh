#!/usr/bin/env bash
# By statkit the share of copies that were found is known exactly, at any number of copies, if only copies were tried.
#
# Expected: bootstrap_score gives a 95 % interval from drawing the images again with replacement. Of 10 copies 9 were
# found; the interval is then about 0.7 to 1, as from SciPy's bootstrap of the same answers. For the share of copies
# that were found, images that are no copies do not count, so that adding one to the test set changes little.
# Seen: the interval is 0.9 to 0.9, printed as "95% CI: 0.90-0.90". So it is with 5 of 10, 1 of 4 and 450 of 500: both
# ends are the point, however few the copies are. If a single image that is no copy is added, the interval is the one
# that SciPy has. Of 60 test sets of 10 copies, of which 70 % are found on average, the intervals contain 0.7 in 13
# (those where it was exactly 7), and in 50 with one other image in the set. There is no warning.
# Why: draws in which all true labels are the same are left out, since an area under the curve has no value then. Where
# all labels are the same from the start, no draw is left, and the point is given for both ends.
# Why it matters: a test of whether a model gives back its training images, or whether a detector finds them, is often
# made with copies only; the hit rate is what is asked for. A rate from ten images then has the precision of a certain
# one, and each difference of two rates seems proven. Do not take an interval whose ends are equal.
#
# Package: statkit 1.1.0. The docstring does not mention that draws are left out. In issue 17 of its tracker the equal
# ends were chosen, instead of an error, for true labels and predictions that are identical; here the predictions vary.
# Source that is relied on: the docstring of statkit.non_parametric.bootstrap_score. Where: bootstrap_score, where
# statistics is empty.
set -euo pipefail

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check statkit==1.1.0 numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1 pandas==3.0.6 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > show.py << 'PYTHON'
import warnings
from importlib.metadata import version

import numpy as np
from scipy.stats import bootstrap
from sklearn.metrics import accuracy_score, recall_score
from statkit.non_parametric import bootstrap_score

SETS, COPIES, RATE, DRAWS = 60, 10, 0.7, 100


def show(found, copies):
    called_copy = np.arange(copies) < found
    is_copy = np.ones(copies, bool)
    ends = []
    for metric in (accuracy_score, recall_score):
        alone = bootstrap_score(is_copy, called_copy, metric=metric, n_iterations=300, random_state=0)
        ends.append(f"{alone.lower:.3f} to {alone.upper:.3f}")
    is_copy, with_other = np.append(is_copy, False), np.append(called_copy, False)
    more = bootstrap_score(is_copy, with_other, metric=recall_score, n_iterations=300, random_state=0)
    low, high = bootstrap((called_copy,), np.mean, method="percentile", n_resamples=2000, rng=0).confidence_interval
    print(f"{found} of {copies}: accuracy {ends[0]}, recall {ends[1]},", end=" ")
    print(f"recall with one other image {more.lower:.2f} to {more.upper:.2f}, SciPy {low:.2f} to {high:.2f}")


def count_covered(add):
    random, covered = np.random.default_rng(0), 0
    for number in range(SETS):
        is_copy = np.arange(COPIES + add) < COPIES
        called_copy = (random.random(COPIES + add) < RATE) & is_copy
        interval = bootstrap_score(
            is_copy, called_copy, metric=recall_score, n_iterations=DRAWS, random_state=number, zero_division=0
        )
        covered += interval.lower - 1e-9 <= RATE <= interval.upper + 1e-9
    return covered


print("statkit", version("statkit"))
with warnings.catch_warnings():
    warnings.simplefilter("error")
    for found, copies in ((9, 10), (5, 10), (1, 4), (450, 500)):
        show(found, copies)
    print(f"intervals with the true rate: {count_covered(0)} of {SETS},", end=" ")
    print(f"with one other image in the set {count_covered(1)}")
PYTHON

cat > expected.txt << 'EXPECTED'
statkit 1.1.0
9 of 10: accuracy 0.900 to 0.900, recall 0.900 to 0.900, recall with one other image 0.70 to 1.00, SciPy 0.70 to 1.00
5 of 10: accuracy 0.500 to 0.500, recall 0.500 to 0.500, recall with one other image 0.20 to 0.80, SciPy 0.20 to 0.80
1 of 4: accuracy 0.250 to 0.250, recall 0.250 to 0.250, recall with one other image 0.00 to 0.75, SciPy 0.00 to 0.75
450 of 500: accuracy 0.900 to 0.900, recall 0.900 to 0.900, recall with one other image 0.87 to 0.92, SciPy 0.87 to 0.92
intervals with the true rate: 13 of 60, with one other image in the set 50
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi

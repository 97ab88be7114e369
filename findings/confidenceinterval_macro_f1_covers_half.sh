#!/usr/bin/env bash
# The "95 %" interval of confidenceinterval for the macro F1 has the true value half the time where copies are rare.
#
# Expected: about 380 of 400 intervals at 95 % contain the true value; of the same package's for the binary F1 363 do.
# An interval shrinks with the number of images, and is no wider where nothing is wrong than where much is.
# Seen: with 15 copies among 1000 images and a macro F1 of 0.70, 218 of 400 contain it. On balanced classes it is the
# other way round: 0.094 wide, though the package's own bootstrap gives 0.036. For predictions without an error it goes
# from 0.90 to 1.10, beyond what an F1 can be.
# Why: the formula of the paper that the docstring names is one of shares. The code puts counts into it, and adds two
# factors that are to be multiplied (twice). What is left is mostly a constant. With both put right, 363 of 400 contain
# the true value, and the width agrees with the bootstrap's.
# Why it matters: copies are rare in what a generator makes, and the macro F1 is taken so that the rare class counts.
# The interval is then far too narrow, and one detector seems better than another by chance. Take
# method="bootstrap_percentile", or the binary F1.
#
# Package: confidenceinterval 1.0.5. Where: macro_f1_score_takahashi in confidenceinterval/takahashi_methods.py
# (first_term, second_term).
set -euo pipefail

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check confidenceinterval==1.0.5 numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1 statsmodels==0.15.0 pandas==3.1.1 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > show.py << 'PYTHON'
from importlib.metadata import version

import numpy as np
from confidenceinterval import f1_score

IS_COPY, CALLED_COPY = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
RARE, REPEATS = np.array([980, 5, 10, 5]), 400  # right, false alarms, missed, found
BALANCED = np.array([450, 50, 50, 450])


def measure(counts, average, **options):
    return f1_score(np.repeat(IS_COPY, counts), np.repeat(CALLED_COPY, counts), average=average, **options)


def count_covered(average):
    true, _ = measure(RARE, average)
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(REPEATS):
        _, (low, high) = measure(random.multinomial(RARE.sum(), RARE / RARE.sum()), average)
        covered += low <= true <= high
    return covered


print("confidenceinterval", version("confidenceinterval"))
for average in ("binary", "macro"):
    print(f"rare copies, {average} F1: {count_covered(average)} of {REPEATS} intervals have the true value")
_, (low, high) = measure(BALANCED, "macro")
_, (low_again, high_again) = measure(BALANCED, "macro", method="bootstrap_percentile", n_resamples=500, random_state=0)
print(f"balanced, macro F1: {high - low:.3f} wide, from the bootstrap {high_again - low_again:.3f}")
_, (low, high) = measure(np.array([100, 0, 0, 100]), "macro")
print(f"no errors, macro F1: from {low:.2f} to {high:.2f}")
PYTHON

cat > expected.txt << 'EXPECTED'
confidenceinterval 1.0.5
rare copies, binary F1: 363 of 400 intervals have the true value
rare copies, macro F1: 218 of 400 intervals have the true value
balanced, macro F1: 0.094 wide, from the bootstrap 0.036
no errors, macro F1: from 0.90 to 1.10
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi

#!/usr/bin/env bash
# MLstatkit's DeLong test says of two detectors with the very same ROC curve that they differ, with p = 0.
#
# Expected: p is near 1 (or the test refuses) where a score is compared with itself, with its square, or where both
# detectors separate all copies from all others. Nothing speaks for a difference then.
# Seen: z = 0.0 and p = 0.0, without a warning, in all three cases. As soon as the order of a single pair of images
# differs, p is 0.48: detectors that are nearly alike do not differ, and those that are exactly alike do.
# Why: the variance of the difference is 0, so that the test goes over to resampling. All resampled differences are 0,
# too. Their p is twice the smaller of the share that is <= 0 (which is 1) and the share that is > 0 (which is 0).
# Why it matters: scores that order all pairs alike are common in tables of copy detectors: cosine similarity and
# (negative) Euclidean distance of normalised descriptors, a score and its calibrated form, or two detectors that are
# both perfect on a small set of copies. A table with stars for p < 0.05 has a star at the difference 0.000.
#
# Package: MLstatkit 0.1.91. Its docstring says that it falls back to resampling, not that p is then 0. Where:
# bootstrap_diff in MLstatkit/delong.py (p_boot).
set -euo pipefail

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check MLstatkit==0.1.91 numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > show.py << 'PYTHON'
from importlib.metadata import version

import numpy as np
from MLstatkit import Delong_test

COPIES, OTHERS = 40, 60
random = np.random.default_rng(0)
is_copy = np.repeat([1, 0], [COPIES, OTHERS])
score = random.random(COPIES + OTHERS) + 0.5 * is_copy  # a copy's similarity is higher, with an overlap
perfect, also_perfect = (is_copy + 0.5 * random.random(COPIES + OTHERS) for _ in range(2))

# One copy and the one that is next below it, not a copy, change places.
order = np.argsort(score)
place = next(one for one in range(1, len(order)) if is_copy[order[one]] and not is_copy[order[one - 1]])
nearly = score.copy()
nearly[order[[place - 1, place]]] = nearly[order[[place, place - 1]]]


def compare(name, one, other):
    z, p, auc_one, auc_other = Delong_test(is_copy, one, other, return_ci=False, random_state=0)
    print(f"{name}: AUC {auc_one:.4f} and {auc_other:.4f}, z = {z:.1f}, p = {p:.2f}")


print("MLstatkit", version("MLstatkit"))
compare("one pair swapped", score, nearly)
compare("a score and itself", score, score)
compare("a score and its square", score, score**2)
compare("two perfect scores", perfect, also_perfect)
PYTHON

cat > expected.txt << 'EXPECTED'
MLstatkit 0.1.91
one pair swapped: AUC 0.8583 and 0.8579, z = -0.7, p = 0.48
a score and itself: AUC 0.8583 and 0.8583, z = 0.0, p = 0.00
a score and its square: AUC 0.8583 and 0.8583, z = 0.0, p = 0.00
two perfect scores: AUC 1.0000 and 1.0000, z = 0.0, p = 0.00
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi

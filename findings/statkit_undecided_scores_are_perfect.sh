#!/usr/bin/env bash
# A detector that gives every image the score 0.5 has sensitivity 1, specificity 1 and Youden's J of 1 by statkit.
#
# Expected: the share of copies that are found and the share that are missed add up to 1, at any threshold. A detector
# that gives all images the same score tells nothing: its J, sensitivity + specificity - 1, is 0. At the threshold that
# youden_j_threshold returns, sensitivity and specificity give the J that it was chosen for.
# Seen: with 0.5 for each of 50 copies and 50 others, and the default threshold, J is 1, and copies are found to 100 %
# and missed to 100 %. With the share of four votes as the score, and votes by chance, found and missed add up to 1.42,
# and J is 0.30 instead of 0. At the threshold of youden_j_threshold the share of matching bits has J = 0.58, though the
# best of all thresholds has 0.46. Scores without ties are measured right.
# Why: an image with exactly the threshold as its score counts as found in the true positive rate (>=), and as not
# called in the false positive and false negative rate (>). The docstrings say "exceeds threshold" for all three.
# Why it matters: scores that are shares of votes, of matching bits or of matching points take few values, and 0.5 is
# one of them; a threshold that was read off a curve is always one of the scores. The detector seems better than
# it is by all images that are exactly at the threshold. Turn scores into 0 and 1 yourself before the call.
#
# Package: statkit 1.1.0. Source that is relied on: the docstrings of youden_j, sensitivity and specificity. Where:
# true_positive_rate, false_positive_rate and false_negative_rate in statkit/metrics.py.
set -euo pipefail

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check statkit==1.1.0 numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1 pandas==3.0.6 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > show.py << 'PYTHON'
from importlib.metadata import version

import numpy as np
from sklearn.metrics import roc_curve
from statkit.metrics import (
    false_negative_rate,
    sensitivity,
    specificity,
    true_positive_rate,
    youden_j,
    youden_j_threshold,
)

COPIES, OTHERS, BITS = 50, 50, 16
is_copy = np.repeat([1, 0], [COPIES, OTHERS])
random = np.random.default_rng(0)


def show(title, score):
    found, missed = true_positive_rate(is_copy, score), false_negative_rate(is_copy, score)
    print(f"{title}: found {found:.2f}, missed {missed:.2f}, sum {found + missed:.2f};", end=" ")
    called = (score >= 0.5).astype(int)
    print(f"J {youden_j(is_copy, score):.2f}, from called or not called {youden_j(is_copy, called):.2f}")


print("statkit", version("statkit"))
show("0.5 for all", np.full(COPIES + OTHERS, 0.5))
show("four votes by chance", random.binomial(4, 0.5, COPIES + OTHERS) / 4)
show("four votes, better for copies", random.binomial(4, np.where(is_copy, 0.7, 0.4)) / 4)
show("without ties", random.random(COPIES + OTHERS))

score = random.binomial(BITS, np.where(is_copy, 0.65, 0.5)) / BITS
threshold = youden_j_threshold(is_copy, score)
j = sensitivity(is_copy, score, threshold) + specificity(is_copy, score, threshold) - 1
false_alarms, found, _ = roc_curve(is_copy, score)
print(f"matching bits, at the threshold {threshold:.4f} of statkit: J {j:.2f},", end=" ")
print(f"highest of all thresholds {(found - false_alarms).max():.2f}")
PYTHON

cat > expected.txt << 'EXPECTED'
statkit 1.1.0
0.5 for all: found 1.00, missed 1.00, sum 2.00; J 1.00, from called or not called 0.00
four votes by chance: found 0.74, missed 0.68, sum 1.42; J 0.30, from called or not called 0.00
four votes, better for copies: found 0.90, missed 0.34, sum 1.24; J 0.64, from called or not called 0.30
without ties: found 0.52, missed 0.48, sum 1.00; J -0.02, from called or not called -0.02
matching bits, at the threshold 0.6250 of statkit: J 0.58, highest of all thresholds 0.46
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi

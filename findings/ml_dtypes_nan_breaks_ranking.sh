#!/usr/bin/env bash
# One score that is not a number leaves the other scores unsorted, if they are bfloat16 or float8 of ml_dtypes.
#
# Expected: np.sort and np.argsort put NaN last and all other scores in order, as NumPy does for its own floats,
# float16 among them. np.unique then has each score once, and the median of scores with NaN is NaN.
# Seen: sorting [0.25, 0.5, nan, 0.125] changes nothing. Of 1000 images of which 20 have no score, the ten best are
# wrong ones in 37 of 100 draws, although those without a score are left out afterwards. np.unique has values twice, and
# the median is an ordinary number. Nothing warns.
# Why: the comparison that ml_dtypes gives NumPy for sorting says "equal" where one side is NaN. The sort then takes
# what stands before a NaN and what stands after it for sorted already. (Its argmax does treat NaN as NumPy does.)
# Why it matters: NumPy has no bfloat16 of its own, so that embeddings and scores of models in bfloat16 are of this type
# when they come from JAX, ONNX or TensorFlow. The cosine of an image whose embedding is 0 is NaN. One such image in a
# collection can be enough to move the candidates for copies of others. Convert to float32 before sorting.
#
# Package: ml_dtypes 0.6.0, with numpy 2.4.6. Its manual says nothing of sorting. Where: NPyCustomFloat_CompareFunc in
# ml_dtypes/_src/custom_float.h.
set -euo pipefail

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check ml_dtypes==0.6.0 numpy==2.4.6 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > show.py << 'PYTHON'
from importlib.metadata import version

import ml_dtypes
import numpy as np

IMAGES, BLANK, BEST, DRAWS = 1000, 20, 10, 100
STEPS = (np.arange(200) + 1) / 256
TYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float8_e4m3fn": ml_dtypes.float8_e4m3fn}

print("ml_dtypes", version("ml_dtypes"))
small = [0.25, 0.5, np.nan, 0.125]
for name, kind in TYPES.items():
    print(f"{name}: {small} sorted is", np.sort(np.array(small, kind)).astype(float).tolist())


def find_best(score, kind):
    """The positions of the ten highest scores; those without a score are left out."""
    order = np.argsort(-score.astype(kind))
    return order[~np.isnan(score[order])][:BEST]


# Both types hold these scores exactly, so that rounding has no part in it.
random = np.random.default_rng(0)
COMPARED = ("float16", "bfloat16")
wrong = dict.fromkeys(COMPARED, 0)
for _ in range(DRAWS):
    score = random.permutation(np.repeat(STEPS, IMAGES // len(STEPS)))
    score[random.choice(IMAGES, BLANK, replace=False)] = np.nan
    right = np.sort(score)[: IMAGES - BLANK][::-1][:BEST]
    for name in COMPARED:
        wrong[name] += not np.array_equal(score[find_best(score, TYPES[name])], right)
for name in COMPARED:
    typed = score.astype(TYPES[name])
    print(f"{name}: the {BEST} best are wrong in {wrong[name]} of {DRAWS} draws;", end=" ")
    print(f"in the last, {len(np.unique(typed))} different values, median {float(np.median(typed)):.2f}")
PYTHON

cat > expected.txt << 'EXPECTED'
ml_dtypes 0.6.0
float16: [0.25, 0.5, nan, 0.125] sorted is [0.125, 0.25, 0.5, nan]
bfloat16: [0.25, 0.5, nan, 0.125] sorted is [0.25, 0.5, nan, 0.125]
float8_e4m3fn: [0.25, 0.5, nan, 0.125] sorted is [0.25, 0.5, nan, 0.125]
float16: the 10 best are wrong in 0 of 100 draws; in the last, 201 different values, median nan
bfloat16: the 10 best are wrong in 37 of 100 draws; in the last, 254 different values, median 0.41
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi

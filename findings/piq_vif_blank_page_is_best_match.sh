#!/usr/bin/env bash
# By piq's VIF a black picture is a perfect match for any picture, and comes before the original of a resized copy.
#
# Expected: vif_p(copy, original) says how much of what the original shows is still in the copy: 1 is all of it, 0 none.
# The docstring says "Usually in [0, 1] interval", and more only for a copy with more contrast. A one-coloured picture
# shows nothing, so that it should be at 0, or have no value. It should not be first in a ranking of originals.
# Seen: a drawing that was made half as large has 0.40 with its original, and a soft picture 0.90. Both have 1.00 with a
# black picture. In float64 white and grey pages are at 1.00, too, so that the original is 4th of 24. In float32 they
# get other numbers, which depend on rounding: 0.62 and 2.49 for the drawing as measured here, so that the original is
# last of the four again, and 0.00 for the soft picture. Unrelated pictures are below 0.05. There is no warning.
# Why: for a one-coloured original there is no information in either sum, and the value is 0 of 0. The same small number
# is added to both, so that it becomes 1. In float32 the variance of a bright page is not 0 but what rounding leaves,
# and that rest is taken for information.
# Why it matters: a training set has blank pages, black frames and placeholders for pictures that are gone. Whoever
# ranks it by VIF finds them first for every generated picture, and the source of a copied drawing below them. A black
# original in a test set adds a perfect score to the mean. Leave out originals whose smallest and largest values are the
# same: the original is then first in all four rankings below. (The two arguments may not change places: VIF is not
# symmetric.)
#
# Package: piq 0.8.0. The docstring does not mention one-coloured pictures. Where: vif_p in piq/vif.py, the quotient at
# its end, and the three variances above it.
set -euo pipefail

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check piq==0.8.0 torch==2.14.1 torchvision==0.29.1 numpy==2.4.6 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > show.py << 'PYTHON'
import sys
import warnings
from importlib.metadata import version

import numpy as np
import torch
from piq import vif_p
from torch.nn.functional import avg_pool2d, interpolate

SIZE, OTHERS, STROKE = 256, 20, 3


def to_picture(values):
    """Eight bits, three equal channels, from 0 to 1."""
    return torch.from_numpy(np.round(values * 255) / 255).expand(1, 3, SIZE, SIZE)


def make_drawing(seed):
    """Six black circles on white."""
    random, (y, x), ink = np.random.default_rng(seed), np.mgrid[:SIZE, :SIZE], np.zeros((SIZE, SIZE))
    for _ in range(6):
        (y_0, x_0), radius = random.uniform(50, 206, 2), random.uniform(15, 45)
        ink = np.maximum(ink, np.clip(STROKE / 2 + 0.5 - abs(np.hypot(y - y_0, x - x_0) - radius), 0, 1))
    return to_picture(1 - ink)


def make_soft(seed):
    noise = torch.from_numpy(np.random.default_rng(seed).random((1, 1, 32, 32)))
    return to_picture(interpolate(noise, (SIZE, SIZE), mode="bicubic").clamp(0, 1)[0, 0].numpy())


def make_copy(picture):
    return interpolate(avg_pool2d(picture, 2), (SIZE, SIZE), mode="bilinear").clamp(0, 1)


def show_ranking(title, make, dtype):
    original = make(0)
    copy = make_copy(original).to(dtype)
    originals = {"original": original} | {f"other {seed}": make(seed) for seed in range(1, OTHERS + 1)}
    originals |= {name: to_picture(np.full((SIZE, SIZE), grey)) for name, grey in BLANK.items()}
    values = {name: vif_p(copy, one.to(dtype)).item() for name, one in originals.items()}
    print(title, {name: round(values[name], 4) for name in BLANK}, file=sys.stderr)  # some of it is rounding

    exact = BLANK if dtype == torch.float64 else ["black"]
    others = max(value for name, value in values.items() if name.startswith("other"))
    print(f"{title}: original {values['original']:.2f}, others {'below 0.05' if others < 0.05 else others};", end=" ")
    print(", ".join(f"{name} {values[name]:.2f}" for name in exact))
    before = [name for name in exact if values[name] > values["original"]]
    kept = {name: value for name, value in values.items() if originals[name].amax() > originals[name].amin()}
    print(f"  before the original: {', '.join(before) or 'none'};", end=" ")
    print(f"first without the blank ones: {max(kept, key=kept.get)}")


BLANK = {"black": 0.0, "white": 1.0, "grey": 0.5}
print("piq", version("piq"))
torch.set_num_threads(1)
with warnings.catch_warnings():
    warnings.simplefilter("error")
    for dtype in (torch.float32, torch.float64):
        show_ranking(f"drawings, {str(dtype)[6:]}", make_drawing, dtype)
        show_ranking(f"soft pictures, {str(dtype)[6:]}", make_soft, dtype)
PYTHON

cat > expected.txt << 'EXPECTED'
piq 0.8.0
drawings, float32: original 0.40, others below 0.05; black 1.00
  before the original: black; first without the blank ones: original
soft pictures, float32: original 0.90, others below 0.05; black 1.00
  before the original: black; first without the blank ones: original
drawings, float64: original 0.40, others below 0.05; black 1.00, white 1.00, grey 1.00
  before the original: black, white, grey; first without the blank ones: original
soft pictures, float64: original 0.90, others below 0.05; black 1.00, white 1.00, grey 1.00
  before the original: black, white, grey; first without the blank ones: original
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi

#!/usr/bin/env bash
# piq's SR-SIM of two pictures depends on which other pairs are in the batch, and an unrelated pair can outrank a copy.
#
# Expected: srsim(..., reduction="none") compares the pictures of a batch in pairs, so that each pair has the value that
# it has alone. The docstring says "Reduction over samples in batch", and the values are "similarity between two
# images".
# Seen: 20 drawings are each scored with a copy (made half as large) and with an unrelated drawing. Alone the copies
# have 0.91 to 0.93 and the unrelated pairs 0.62 at most. Then the copies are one batch and the unrelated pairs another,
# and each batch has one more pair with a page that is empty but for a full stop. Now the copies have 0.65 to 0.79 and
# the unrelated pairs up to 0.73, so that 7 of the 20 copies are below an unrelated pair. Nothing warns of it.
# Why: each picture gets a map of what stands out in it, which is stretched from 0 to 1 before two maps are compared.
# The smallest and the largest value for that are taken from all pictures of the batch. A page with one small mark has a
# map with a much higher peak, and presses the maps of all pictures on its side of the batch towards 0.
# Why it matters: pairs are scored in batches. Another batch size or order gives other values, a threshold that was set
# on single pairs misses copies, and a ranking over several batches tells who was in a batch with whom. Give srsim one
# pair at a time, as in "each pair alone" below. Ten other measures of piq have the same value in the batch as alone.
#
# Package: piq 0.8.0. The docstring does not say that the other pictures count. Where:
# _spectral_residual_visual_saliency in piq/srsim.py, where the map is scaled to between 0 and 1.
set -euo pipefail

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check piq==0.8.0 torch==2.14.1 torchvision==0.29.1 numpy==2.4.6 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > show.py << 'PYTHON'
from importlib.metadata import version

import numpy as np
import piq
import torch
from torch.nn.functional import avg_pool2d, interpolate

SIZE, STROKE, PAIRS = 256, 3, 20


def draw(circles):
    """Black circles on white, eight bits, three equal channels, from 0 to 1."""
    (y, x), ink = np.mgrid[:SIZE, :SIZE], np.zeros((SIZE, SIZE))
    for y_0, x_0, radius in circles:
        ink = np.maximum(ink, np.clip(STROKE / 2 + 0.5 - abs(np.hypot(y - y_0, x - x_0) - radius), 0, 1))
    return torch.from_numpy(np.round((1 - ink) * 255) / 255).float().expand(1, 3, SIZE, SIZE)


def make_drawing(seed):
    random = np.random.default_rng(seed)
    return draw([(*random.uniform(50, 206, 2), random.uniform(15, 45)) for _ in range(6)])


def make_copy(picture):
    return interpolate(avg_pool2d(picture, 2), (SIZE, SIZE), mode="bilinear")


def make_batch(pairs):
    return [torch.cat(side) for side in zip(*pairs, strict=True)]


def score(pairs, alone):
    if alone:
        return [piq.srsim(*pair, reduction="none").item() for pair in pairs]
    return piq.srsim(*make_batch(pairs), reduction="none").tolist()


def show(title, copies, unrelated):
    below = sum(value < max(unrelated) for value in copies)
    print(f"{title}:")
    print(f"  copies {min(copies):.2f} to {max(copies):.2f}, unrelated pairs up to {max(unrelated):.2f}")
    print(f"  {below} of {PAIRS} copies below an unrelated pair")


drawings = [make_drawing(seed) for seed in range(PAIRS)]
copies = [(make_copy(drawing), drawing) for drawing in drawings]
unrelated = [(make_copy(drawing), make_drawing(PAIRS + seed)) for seed, drawing in enumerate(drawings)]
full_stop = draw([(100, 150, 2)])  # a page that is empty but for it
WITH_PAGE = [(make_copy(make_drawing(2 * PAIRS)), full_stop)]
PAGE_AND_COPY = [(make_copy(full_stop), full_stop)]

torch.set_num_threads(1)
print("piq", version("piq"))
show("each pair alone", score(copies, True), score(unrelated, True))
show("in two batches", score(copies, False), score(unrelated, False))
seen = score(copies + WITH_PAGE, False)[:PAIRS], score(unrelated + PAGE_AND_COPY, False)[:PAIRS]
show("in two batches with one more pair in each", *seen)

others = "ssim", "multi_scale_ssim", "vif_p", "fsim", "vsi", "haarpsi", "dss", "gmsd", "multi_scale_gmsd", "mdsi"
for name in ("srsim", *others):
    measure = getattr(piq, name)
    alone, in_batch = measure(*copies[0], reduction="none"), measure(*make_batch(copies + WITH_PAGE), reduction="none")
    print(f"{name}: the first copy's value changes by {abs(alone - in_batch[0]).item():.2f}")
PYTHON

cat > expected.txt << 'EXPECTED'
piq 0.8.0
each pair alone:
  copies 0.91 to 0.93, unrelated pairs up to 0.62
  0 of 20 copies below an unrelated pair
in two batches:
  copies 0.91 to 0.93, unrelated pairs up to 0.65
  0 of 20 copies below an unrelated pair
in two batches with one more pair in each:
  copies 0.65 to 0.79, unrelated pairs up to 0.73
  7 of 20 copies below an unrelated pair
srsim: the first copy's value changes by 0.18
ssim: the first copy's value changes by 0.00
multi_scale_ssim: the first copy's value changes by 0.00
vif_p: the first copy's value changes by 0.00
fsim: the first copy's value changes by 0.00
vsi: the first copy's value changes by 0.00
haarpsi: the first copy's value changes by 0.00
dss: the first copy's value changes by 0.00
gmsd: the first copy's value changes by 0.00
multi_scale_gmsd: the first copy's value changes by 0.00
mdsi: the first copy's value changes by 0.00
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi

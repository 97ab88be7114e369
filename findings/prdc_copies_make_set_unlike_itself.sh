#!/usr/bin/env bash
# A set with six copies of each image has precision, recall, density and coverage of 0 against itself.
#
# Expected: a set that is compared with itself scores 1, or nearly so, copies or no copies. The package's README blames
# older measures that they "fail to detect the match between two identical distributions".
# Seen: with six of each image and more (k is 5), the four scores of the set against the very same set are 0.000, as
# they are against images that have nothing to do with it. Where only some images have copies, exactly these are lost:
# 0.455 is the share of the rows without copies. Up to five of each, precision, recall and coverage are 1. There is no
# warning.
# Why: the radius of an image is the distance to its kth neighbour, which is 0 where there are k copies besides it. An
# image is near only if it is strictly nearer than the radius, which nothing is.
# Why it matters: repeated images are what models learn by heart, so that training sets with copies are the ones that
# are looked at. A model that gives back exactly these images gets the scores of a model that has nothing in common
# with them. Take the copies out of both sets first.
#
# Package: prdc 0.2. Where: prdc/prdc.py, compute_nearest_neighbour_distances and compute_prdc.
set -euo pipefail

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check prdc==0.2 numpy==2.4.6 scikit-learn==1.9.1 scipy==1.17.1 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > show.py << 'PYTHON'
import contextlib
import io
from importlib.metadata import version

import numpy as np
from prdc import compute_prdc

# Whole numbers, so that all distances of different images are far from 0.
images = np.random.default_rng(0).integers(0, 9, size=(120, 16))


def show(name, real, fake):
    with contextlib.redirect_stdout(io.StringIO()):
        scores = compute_prdc(real.astype(np.float32), fake.astype(np.float32), nearest_k=5)
    print(f"{name:52}", *(f"{key} {value:.3f}" for key, value in scores.items()))


print("prdc", version("prdc"))
show("no copies, against itself", images, images)
for count in (2, 5, 6, 8):
    copies = np.repeat(images, count, axis=0)
    show(f"each image {count} times, against itself", copies, copies)
half = np.concatenate([np.repeat(images[:20], 6, axis=0), images[20:]])
show("20 of 120 images 6 times, against itself", half, half)
show("each image 8 times, against images far away", np.repeat(images, 8, axis=0), np.repeat(images, 8, axis=0) + 100)
PYTHON

cat > expected.txt << 'EXPECTED'
prdc 0.2
no copies, against itself                            precision 1.000 recall 1.000 density 0.983 coverage 1.000
each image 2 times, against itself                   precision 1.000 recall 1.000 density 0.780 coverage 1.000
each image 5 times, against itself                   precision 1.000 recall 1.000 density 1.000 coverage 1.000
each image 6 times, against itself                   precision 0.000 recall 0.000 density 0.000 coverage 0.000
each image 8 times, against itself                   precision 0.000 recall 0.000 density 0.000 coverage 0.000
20 of 120 images 6 times, against itself             precision 0.455 recall 0.455 density 0.331 coverage 0.455
each image 8 times, against images far away          precision 0.000 recall 0.000 density 0.000 coverage 0.000
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi

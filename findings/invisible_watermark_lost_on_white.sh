#!/usr/bin/env bash
# The mark that Stable Diffusion's scripts put into their images is not there afterwards in drawings on white.
#
# Expected: the mark can be read from the very pixels that the encoder returned.
# Seen: twelve drawings of circles on white, marked and read back without saving or scaling, give bytes of zeros, all
# twelve. The same drawings on light grey (235) give the mark, all twelve.
# Why: the mark is a small change of one colour channel, also upwards. On white and near-white that is beyond 255 and is
# cut off, and what is left is so weak that it reads as a 0 everywhere.
# Why it matters: the mark is looked for to tell generated images from others. That it cannot be read says nothing of
# logos, drawings and products on white: there it never was.
#
# Package: invisible-watermark 0.2.0, method dwtDct, as the published scripts of Stable Diffusion call it. Where:
# EmbedMaxDct.encode in imwatermark/maxDct.py.
set -euo pipefail

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
# Its requirement opencv-python needs libraries of a desktop; the same code without them is opencv-python-headless.
{ "$work/venv/bin/python" -m pip install -q --disable-pip-version-check opencv-python-headless==5.0.0.93 PyWavelets==1.9.0 numpy==2.4.6 pillow==13.0.0 torch==2.14.1 &&
    "$work/venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps invisible-watermark==0.2.0; } 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > show.py << 'PYTHON'
from importlib.metadata import version

import cv2
import numpy as np
from imwatermark import WatermarkDecoder, WatermarkEncoder

TEXT = b"StableDiffusionV1"
SIDE, DRAWINGS = 512, 12


def draw_circles(background, seed):
    random = np.random.default_rng(seed)
    picture = np.full((SIDE, SIDE, 3), background, np.uint8)
    for _ in range(6):
        middle = tuple(int(one) for one in random.integers(60, 450, 2))
        colour = tuple(int(one) for one in random.integers(0, 256, 3))
        cv2.circle(picture, middle, int(random.integers(20, 90)), colour, 6)
    return picture


encoder, decoder = WatermarkEncoder(), WatermarkDecoder("bytes", 8 * len(TEXT))
encoder.set_watermark("bytes", TEXT)
print("invisible-watermark", version("invisible-watermark"))
for background in (255, 235):
    read = [decoder.decode(encoder.encode(draw_circles(background, seed), "dwtDct"), "dwtDct") for seed in range(DRAWINGS)]
    marked, nothing = (sum(one == wanted for one in read) for wanted in (TEXT, bytes(len(TEXT))))
    print(f"drawings on {background}: the mark is read from {marked} of {DRAWINGS}, zeros from {nothing}")
PYTHON

cat > expected.txt << 'EXPECTED'
invisible-watermark 0.2.0
drawings on 255: the mark is read from 0 of 12, zeros from 12
drawings on 235: the mark is read from 12 of 12, zeros from 0
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi

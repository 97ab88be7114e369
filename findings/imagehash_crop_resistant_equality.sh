#!/usr/bin/env bash
# Two crop-resistant hashes are "equal" when one segment is alike, and their distance depends on which comes first.
#
# Expected: `a == b` compares the hashes whole, like the == of imagehash's other hashes; `a - b` equals `b - a`, and 0
# means the same picture.
# Seen: a picture of noise blocks and a plain white image are ==, with `noise - white` = 8 of 9 and `white - noise` =
# 0.0, the distance of an exact copy. A second, unrelated picture is == to the first as well.
# Why: == asks whether at least one segment of the left hash is within a quarter of the bits of any segment on the
# right, and - counts over the left hash's segments only. A flat area hashes to zeros in every picture, a plain image
# has no other segment, and so it is "contained" in everything that has a flat piece.
# Why it matters: `hash in seen` and `==` are how duplicates are dropped, and `best_match` takes the smallest distance:
# one blank image (a safety filter's black square, a failed generation) becomes the best match of everything. It is also
# no equivalence: equal hashes have different hash(), so that a set keeps both. Use matches(region_cutoff=...), in both
# directions, and drop flat images before.
#
# Package: ImageHash 4.3.2. Where: imagehash/__init__.py, ImageMultiHash.__eq__, __sub__ and hash_diff.
set -euo pipefail

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check ImageHash==4.3.2 numpy==2.4.6 pillow==13.0.0 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > show.py << 'PYTHON'
from importlib.metadata import version

import imagehash
import numpy as np
from PIL import Image

rng = np.random.default_rng(0)


def draw():
    cells = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
    return imagehash.crop_resistant_hash(cells.resize((300, 200), Image.Resampling.BICUBIC))


noise, other = draw(), draw()
white = imagehash.crop_resistant_hash(Image.new("RGB", (300, 200), "white"))
print("ImageHash", version("ImageHash"))
print("noise == white:", noise == white, " noise == other:", noise == other)
print("noise - white:", noise - white, "of", len(noise.segment_hashes), " white - noise:", white - noise)
print("white's best match of [noise, other]: distance", white - white.best_match([noise, other]))
print("in a list:", white in [noise], " in a set:", white in {noise})
PYTHON

cat > expected.txt << 'EXPECTED'
ImageHash 4.3.2
noise == white: True  noise == other: True
noise - white: 8.0 of 9  white - noise: 0.0
white's best match of [noise, other]: distance 0.0
in a list: True  in a set: False
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi

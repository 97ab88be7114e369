#!/usr/bin/env bash
# For ssimulacra2 two different drawings on a transparent ground are the same picture, and so is an empty one.
#
# Expected: compute_ssimulacra2_with_alpha, which the command line uses too, lays pictures with transparency on a dark
# and on a light ground and takes the worse score ("automatically uses both dark and light backgrounds", README).
# Another drawing, a full black picture and an empty one are then far from 100. What colours the invisible pixels have
# in the file does not matter.
# Seen: all three have 100 with the drawing, "mathematically lossless". Shown on white, the two drawings have a score
# below 0. A picture that looks the same as the drawing on any ground, with other colours in its invisible pixels, has
# a score below 0; laid on white they are at 100. There is no warning.
# Why: both pictures are turned into RGB when they are opened, which drops the transparency and keeps the colours under
# it. The code for the two grounds looks for a fourth channel after that, and never finds one.
# Why it matters: logos, icons, stickers and line art are often one colour with the drawing in the transparency. All of
# them are perfect copies of each other by this measure, so that the best score says nothing; and a real copy, stored
# by a program that cleans invisible pixels, is thrown away. Lay both pictures on a ground before they are compared.
#
# Package: ssimulacra2 0.3.0. Source that is relied on: the README, section on use from Python, and the docstring of
# compute_ssimulacra2_with_alpha. Where: compute_ssimulacra2 in ssimulacra2/ssimulacra2.py (convert).
set -euo pipefail

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check ssimulacra2==0.3.0 numpy==2.4.6 scipy==1.17.1 pillow==13.0.0 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > show.py << 'PYTHON'
from importlib.metadata import version

import numpy as np
from PIL import Image, ImageDraw
from ssimulacra2 import compute_ssimulacra2_with_alpha

SIZE = 256


def make_drawing(seed):
    """How opaque each pixel is: six circles."""
    random, opaque = np.random.default_rng(seed), Image.new("L", (SIZE, SIZE), 0)
    for _ in range(6):
        (x, y), radius = random.uniform(40, 216, 2), random.uniform(15, 40)
        ImageDraw.Draw(opaque).ellipse([x - radius, y - radius, x + radius, y + radius], outline=255, width=4)
    return np.asarray(opaque)


def save(name, opaque, invisible=0):
    """Black where it can be seen at all; also laid on white."""
    pixels = np.zeros((SIZE, SIZE, 4), np.uint8)
    pixels[..., 3] = opaque
    pixels[opaque == 0, :3] = invisible
    picture = Image.fromarray(pixels)
    picture.save(f"{name}.png")
    ground = Image.new("RGBA", picture.size, "white")
    ground.alpha_composite(picture)
    ground.convert("RGB").save(f"{name} on white.png")


def describe(score):
    return "below 0" if score < 0 else f"{score:.2f}"


drawing = make_drawing(0)
save("drawing", drawing)
save("itself", drawing)
save("another drawing", make_drawing(1))
save("full black picture", np.full_like(drawing, 255))
save("empty picture", np.zeros_like(drawing))
save("same look", drawing, np.random.default_rng(0).integers(0, 256, ((drawing == 0).sum(), 3)))
print("ssimulacra2", version("ssimulacra2"))
for name in ("itself", "another drawing", "full black picture", "empty picture", "same look"):
    as_it_is = compute_ssimulacra2_with_alpha("drawing.png", f"{name}.png")
    on_white = compute_ssimulacra2_with_alpha("drawing on white.png", f"{name} on white.png")
    print(f"drawing and {name}: {describe(as_it_is)}, on white {describe(on_white)}")
PYTHON

cat > expected.txt << 'EXPECTED'
ssimulacra2 0.3.0
drawing and itself: 100.00, on white 100.00
drawing and another drawing: 100.00, on white below 0
drawing and full black picture: 100.00, on white below 0
drawing and empty picture: 100.00, on white below 0
drawing and same look: below 0, on white 100.00
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi

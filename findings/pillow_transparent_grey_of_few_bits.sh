#!/usr/bin/env bash
# Pillow reads a grey PNG of 2 or 4 bits whose white is transparent as opaque; saved again, a dark grey is transparent.
#
# Expected: a PNG can name one grey as transparent (tRNS), as a number of its own depth. A reader that widens 15 of 4
# bits to 255 of 8 bits widens the named number too, as pypng does, and as Pillow does itself for 1 bit.
# Seen: the pixels are widened, the named number is not. White stays opaque. Where the picture holds the grey 15 of 255
# after it was edited, or is saved as a PNG, that near-black is transparent instead, without an error or a warning.
# Why it matters: scanned line art and stamps are kept in this form, with the paper transparent. Flattened on another
# colour than white they become another picture, and so do their hashes; a portfolio and a training set that were
# prepared with different readers no longer match.
#
# Packages: Pillow 13.0.0 reads; pypng 0.20220715.0 writes, and reads as the second opinion.
# Where: src/PIL/PngImagePlugin.py, chunk_tRNS, and the conversion to RGBA in src/PIL/Image.py.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check pillow==13.0.0 pypng==0.20220715.0 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > show.py << 'PYTHON'
import io
from importlib.metadata import version

import png
from PIL import Image

print("Pillow", version("pillow"), " pypng", version("pypng"))
for bits in (1, 2, 4, 8):
    white = 2**bits - 1
    file = io.BytesIO()
    png.Writer(2, 1, greyscale=True, bitdepth=bits, transparent=white).write(file, [[0, white]])
    width, height, rows, _ = png.Reader(bytes=file.getvalue()).asRGBA8()
    second = list(next(iter(rows)))[7]
    image = Image.open(io.BytesIO(file.getvalue()))
    first = image.convert("RGBA").getpixel((1, 0))[3]
    print(f"{bits} bits: alpha of white is {second} by pypng, {first} by Pillow")

file = io.BytesIO()
png.Writer(2, 1, greyscale=True, bitdepth=4, transparent=15).write(file, [[0, 15]])
image = Image.open(io.BytesIO(file.getvalue()))
image.load()
image.putpixel((0, 0), 15)
saved = io.BytesIO()
image.save(saved, "PNG")
_, _, rows, _ = png.Reader(bytes=saved.getvalue()).asRGBA8()
dark, light = list(next(iter(rows)))[3::4]
print(f"saved again by Pillow: alpha of the grey 15 of 255 is {dark}, of white {light}, by pypng")
PYTHON

cat > expected.txt << 'EXPECTED'
Pillow 13.0.0  pypng 0.20220715.0
1 bits: alpha of white is 0 by pypng, 0 by Pillow
2 bits: alpha of white is 0 by pypng, 255 by Pillow
4 bits: alpha of white is 0 by pypng, 255 by Pillow
8 bits: alpha of white is 0 by pypng, 0 by Pillow
saved again by Pillow: alpha of the grey 15 of 255 is 0, of white 255, by pypng
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi

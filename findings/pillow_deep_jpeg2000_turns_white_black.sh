#!/usr/bin/env bash
# Pillow reads a JPEG 2000 of 10, 12 or 16 bits in colour with its brightest values as 0: white comes out black.
#
# Expected: samples are brought to 8 bits by a rule that never makes a brighter value darker, as it is done for grey of
# the same depth, and for PNG and TIFF of 16 bits.
# Seen: a ramp from 0 to the largest number comes out as 0 to 255 and then 0 again. At 16 bits the values from 65408 on
# are 0, at 12 bits those from 4088 on, at 10 bits those from 1022 on. Each channel wraps for itself, so a white sky
# becomes black, and a bright red becomes black or cyan. Grey of 16 bits is right.
# Why: the decoder adds half a step before it shifts to 8 bits, and 255.5 and more do not fit into a byte.
# Why it matters: archives, libraries and museums keep masters as JPEG 2000 of 16 bits, and paper is white. Their
# thumbnails, hashes and similarities are made from other pictures, without an error.
#
# Packages: Pillow 13.0.0 reads; imagecodecs 2026.3.6 (OpenJPEG) writes, losslessly, and reads as the second opinion.
# Where: src/libImaging/Jpeg2KDecode.c, the unpackers to 8 bits.
set -euo pipefail

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check imagecodecs==2026.3.6 numpy==2.4.6 pillow==13.0.0 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > show.py << 'PYTHON'
import io
from importlib.metadata import version

import imagecodecs
import numpy as np
from PIL import Image

print("Pillow", version("pillow"), " imagecodecs", version("imagecodecs"))
for bits in (10, 12, 16):
    top = 2**bits - 1
    ramp = (top - np.arange(64 * 64) % (top + 1)).astype(np.uint16).reshape(64, 64)
    colour = np.stack([ramp] * 3, -1)
    data = imagecodecs.jpeg2k_encode(colour, level=0, bitspersample=bits)
    assert np.array_equal(imagecodecs.jpeg2k_decode(data), colour)
    read = np.asarray(Image.open(io.BytesIO(data)))[..., 0]
    wrapped = (read == 0) & (ramp > top // 2)
    print(f"{bits} bits, colour: white is read as {read[0, 0]}; first value read as 0 again: {ramp[wrapped].min()}")

data = imagecodecs.jpeg2k_encode(ramp, level=0)
grey = Image.open(io.BytesIO(data))
print(f"16 bits, grey: mode {grey.mode}, white is read as {np.asarray(grey)[0, 0]}")
PYTHON

cat > expected.txt << 'EXPECTED'
Pillow 13.0.0  imagecodecs 2026.3.6
10 bits, colour: white is read as 0; first value read as 0 again: 1022
12 bits, colour: white is read as 0; first value read as 0 again: 4088
16 bits, colour: white is read as 0; first value read as 0 again: 65408
16 bits, grey: mode I;16, white is read as 65535
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi

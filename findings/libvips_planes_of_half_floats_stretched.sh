#!/usr/bin/env bash
# libvips reads a TIFF of half floats whose channels are stored apart as another picture, three times too tall.
#
# Expected: the same numbers as from the same picture stored pixel by pixel, or at 32 bits, or an error.
# Seen: of each strip the first row is right; each later one is read a third of a row further on, so that of a strip of
# 9 rows the first three fill it. There is no error. 32-bit floats in planes and half floats in pixels are right.
# Why: half floats are widened to 32 bits while they are unpacked, and the step from row to row of a plane is taken
# from another layout than the one that is in memory.
# Why it matters: photo editors write half floats, and a program that thumbnails, hashes or compares through libvips
# sees another picture than the one that is shown by others. Statistics stay plausible.
#
# Packages: pyvips 3.2.0 with pyvips-binary 8.18.7; tifffile 2026.3.3 writes, and reads as the second opinion.
# Where: libvips/foreign/tiff2vips.c, the unpacking of half floats and of separate planes.
set -euo pipefail

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check pyvips==3.2.0 pyvips-binary==8.18.7 numpy==2.4.6 tifffile==2026.3.3 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > show.py << 'PYTHON'
import io
from importlib.metadata import version

import numpy as np
import pyvips
import tifffile

print("libvips", ".".join(str(pyvips.version(n)) for n in range(3)), " tifffile", version("tifffile"))
ROWS = 9
# Every row of the red channel is its own number, so that what is read says where it was read.
red = np.repeat(np.arange(ROWS)[:, None], 96, axis=1)
picture = np.stack([red, red * 0 + 100, red * 0 + 200])
for kind in (np.float16, np.float32):
    for planar in ("separate", "contig"):
        values = (picture / 256).astype(kind)
        stored = values if planar == "separate" else values.transpose(1, 2, 0)
        file = io.BytesIO()
        tifffile.imwrite(file, stored, photometric="rgb", planarconfig=planar)
        assert np.array_equal(tifffile.imread(io.BytesIO(file.getvalue())), stored)
        read = pyvips.Image.new_from_buffer(file.getvalue(), "").numpy() * 256
        print(f"{np.dtype(kind).name}, {planar}: rows read", read[:, 0, 0].round().astype(int).tolist())
PYTHON

cat > expected.txt << 'EXPECTED'
libvips 8.18.7  tifffile 2026.3.3
float16, separate: rows read [0, 0, 0, 1, 1, 1, 2, 2, 2]
float16, contig: rows read [0, 1, 2, 3, 4, 5, 6, 7, 8]
float32, separate: rows read [0, 1, 2, 3, 4, 5, 6, 7, 8]
float32, contig: rows read [0, 1, 2, 3, 4, 5, 6, 7, 8]
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi

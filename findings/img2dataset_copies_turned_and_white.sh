#!/usr/bin/env bash
# img2dataset, which most public training sets of images were downloaded with, stores other pictures than viewers show.
#
# Expected: a photograph that its file says to show turned is stored upright; a picture of 16 bits a value is reduced to
# 8 bits, or fails and is counted as failed.
# Seen: the photograph is stored as it lies in the file, on its side, while its EXIF text, "Rotated 90 CW", goes into the
# JSON beside it; the stored JPEG has no tag that a reader could still apply. The 16-bit picture, an even ramp from black
# to white, becomes a white picture (mean 254 of 255). Both have the status "success".
# Why: `Resizer` in img2dataset/resizer.py decodes with OpenCV's IMREAD_UNCHANGED, which applies no orientation and keeps
# 16 bits, and encodes to JPEG, which takes 8 bits: all values above 255 become 255.
# Why it matters: who asks whether a model can reproduce a photograph has to ask for it as it was stored too, on its side.
# And a 16-bit original was perhaps trained on as a white picture, and cannot come back.
#
# Packages: img2dataset 1.47.0, opencv-python-headless 4.14.0.94, numpy 2.4.6, pillow 13.0.0. Nothing is downloaded but
# these: the list of images holds addresses of local files.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check img2dataset==1.47.0 \
    opencv-python-headless==4.14.0.94 numpy==2.4.6 pillow==13.0.0 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > make.py << 'PYTHON'
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

# Red on the left and blue on the right as stored; orientation 6 says to turn it by 90 degrees, which puts red on top.
stored = np.zeros((32, 64, 3), np.uint8)
stored[:, :32], stored[:, 32:] = (255, 0, 0), (0, 0, 255)
exif = Image.Exif()
exif[0x0112] = 6
Image.fromarray(stored).save("turned.jpg", exif=exif, quality=95, subsampling=0)
ramp = np.linspace(0, 65535, 32 * 64).reshape(32, 64).astype(np.uint16)
cv2.imwrite("deep.png", ramp)
names = ("turned.jpg", "deep.png")
Path("list.txt").write_text("".join(f"{Path(name).resolve().as_uri()}\n" for name in names))
PYTHON
"$work/venv/bin/python" make.py

NO_ALBUMENTATIONS_UPDATE=1 "$work/venv/bin/img2dataset" --url_list list.txt --output_folder out --image_size 64 \
    --resize_mode keep_ratio --processes_count 1 --thread_count 1 --retries 0 > "$work/log" 2>&1 \
    || { cat "$work/log" >&2; exit 1; }

cat > show.py << 'PYTHON'
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

for name, number in (("turned.jpg", "000000000"), ("deep.png", "000000001")):
    told = json.loads(Path(f"out/00000/{number}.json").read_text())
    with Image.open(f"out/00000/{number}.jpg") as copy:
        pixels, tag = np.asarray(copy.convert("RGB")), copy.getexif().get(0x0112)
    with Image.open(name) as opened:
        shown = ImageOps.exif_transpose(opened).size
    print(f"{name}: {told['status']}, shown as {shown}, stored as {pixels.shape[1::-1]}, mean {pixels.mean():.0f}")
    if name == "turned.jpg":
        left, right = pixels[:, 10].mean(axis=0), pixels[:, -10].mean(axis=0)
        assert told["status"] == "success" and tag is None and "Rotated 90 CW" in told["exif"]
        assert shown == (32, 64) and pixels.shape[1::-1] == (128, 64)
        assert left[0] > 200 > 50 > left[2] and right[2] > 200 > 50 > right[0], "red is still on the left"
    else:
        assert told["status"] == "success" and pixels.mean() > 250
print("as described")
PYTHON
"$work/venv/bin/python" show.py

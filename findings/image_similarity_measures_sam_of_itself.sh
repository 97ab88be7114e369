#!/usr/bin/env bash
# A picture and itself are as far apart as they could be, by the spectral angle of image-similarity-measures.
#
# Expected: the spectral angle (SAM) is the mean angle between the colours of two pictures. It is 0 degrees for a
# picture and itself and grows as the colours differ, for the files that the package's own evaluation() and command read.
# Seen: for PNGs every pair has an angle between 89 and 90 degrees, the picture with itself too. A darker copy has
# nearly the same as an unrelated picture has. The same pixels as floats have the right angles, from 0 to 24.4. There is
# no warning.
# Why: the products of the pixels are made in 8 bits, where 200 * 200 is 64. What is left of them is divided by
# the full lengths, so that the cosine is near 0. evaluation() reads with OpenCV, which makes 8 bits of PNG and JPEG
# files of any depth.
# Why it matters: the package is there to say how alike two pictures are, in up to eight measures at once ("all").
# Whoever compares generated pictures with training pictures by the angle finds no exact copy, and the mean over a
# collection looks like a plausible, high distance. Give the function floats.
#
# Package: image-similarity-measures 0.3.6. Its manual says nothing of a type that is needed, and evaluation() cannot be
# given one. The script takes newer NumPy and scikit-image than the package asks for, as those have wheels for more
# Pythons; with numpy 1.26.4 and scikit-image 0.20.0 it is the same. Where: sam in
# image_similarity_measures/quality_metrics.py (np.multiply).
set -euo pipefail

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
install() {
    "$work/venv/bin/python" -m pip install -q --disable-pip-version-check "$@" 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
}
install numpy==2.4.6 scipy==1.17.1 scikit-image==0.26.0 opencv-python-headless==4.11.0.86
install --no-deps image-similarity-measures==0.3.6 phasepack==1.5
cd "$work"

cat > show.py << 'PYTHON'
from importlib.metadata import version

import cv2
import numpy as np
from image_similarity_measures.evaluate import evaluation
from image_similarity_measures.quality_metrics import sam

SIZE = 64


def make_picture(seed):
    """Soft blobs of all colours."""
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return cv2.resize(small, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)


def angle(x, y):
    x, y = x.astype(float), y.astype(float)
    cosine = (x * y).sum(2) / np.maximum(np.linalg.norm(x, axis=2) * np.linalg.norm(y, axis=2), 1e-9)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean()


picture = make_picture(1)
noise = np.random.default_rng(3).integers(-5, 6, picture.shape)
OTHERS = {
    "itself": picture,
    "half as bright": picture // 2,
    "with some noise": np.clip(picture + noise, 0, 255).astype(np.uint8),
    "unrelated": make_picture(2),
}
print("image-similarity-measures", version("image-similarity-measures"))
cv2.imwrite("picture.png", picture)
for name, other in OTHERS.items():
    cv2.imwrite("other.png", other)
    files = evaluation(org_img_path="picture.png", pred_img_path="other.png", metrics=["sam"])["sam"]
    floats = sam(picture.astype(float), other.astype(float))
    print(f"{name}: files {files:.1f}, floats {floats:.1f}, right {angle(picture, other):.1f} degrees")
PYTHON

cat > expected.txt << 'EXPECTED'
image-similarity-measures 0.3.6
itself: files 89.5, floats 0.0, right 0.0 degrees
half as bright: files 89.0, floats 0.2, right 0.2 degrees
with some noise: files 89.4, floats 1.1, right 1.1 degrees
unrelated: files 89.5, floats 24.4, right 24.4 degrees
EXPECTED

"$work/venv/bin/python" -W ignore show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi

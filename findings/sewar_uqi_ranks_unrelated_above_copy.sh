#!/usr/bin/env bash
# sewar's image index UQI puts an unrelated picture above a darker copy: it hardly looks at what is in the pictures.
#
# Expected: the "universal image quality index" of Wang and Bovik (2002), which the manual names as its source. That is
# the mean, over all windows, of 4 cov(x, y) mean(x) mean(y) / ((var(x) + var(y)) (mean(x)^2 + mean(y)^2)). It is 1 for
# the same picture, near 0 for unrelated ones and below 0 for a negative.
# Seen: an unrelated picture has 0.94 instead of -0.03, and a negative 0.89 instead of -0.96. A copy of half the
# brightness has 0.64, so that it is taken for less like the original than an unrelated picture.
# Why: the code has the formula for sums over the window (with N, the number of its pixels), but the function that fills
# it in, SciPy's uniform_filter, makes means. In place of the covariance then stands nearly the product of the means,
# which is large and positive for any two pictures.
# Why it matters: somebody who looks for copies of training images with this index finds all pairs alike, ranked by how
# bright they are, and a table that has it next to SSIM for generated images has a number that cannot be low. A picture
# and itself get 1 either way, so that the usual check passes. ssim of the same package is as it should be.
#
# Package: sewar 0.4.10. Where: _uqi_single in sewar/full_ref.py (GT_sum and the four lines after it).
set -euo pipefail

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check sewar==0.4.10 numpy==2.4.6 scipy==1.17.1 pillow==13.0.0 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > show.py << 'PYTHON'
from importlib.metadata import version

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import gaussian_filter
from sewar.full_ref import ssim, uqi

SIZE, WINDOW = 128, 8


def make_picture(seed):
    """Soft grey blobs, from 68 to 188."""
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal((SIZE, SIZE)), 3, mode="wrap")
    return np.clip(128 + 25 * noise / noise.std(), 68, 188).round().astype(np.uint8)


def index_of_the_paper(x, y):
    x, y = (sliding_window_view(one.astype(float), (WINDOW, WINDOW)) for one in (x, y))
    x_mean, y_mean = x.mean((2, 3)), y.mean((2, 3))
    covariance = (x * y).mean((2, 3)) - x_mean * y_mean
    return np.mean(4 * covariance * x_mean * y_mean / ((x.var((2, 3)) + y.var((2, 3))) * (x_mean**2 + y_mean**2)))


picture, unrelated = make_picture(1), make_picture(2)
OTHERS = {
    "same picture": picture,
    "half as bright": (picture / 2).round().astype(np.uint8),
    "unrelated picture": unrelated,
    "negative": 255 - picture,
}
print("sewar", version("sewar"))
for name, other in OTHERS.items():
    index, paper, structure = uqi(picture, other), index_of_the_paper(picture, other), ssim(picture, other)[0]
    print(f"{name}: uqi {index:.2f}, paper {paper:.2f}, ssim {structure:.2f}")
PYTHON

cat > expected.txt << 'EXPECTED'
sewar 0.4.10
same picture: uqi 1.00, paper 1.00, ssim 1.00
half as bright: uqi 0.64, paper 0.64, ssim 0.66
unrelated picture: uqi 0.94, paper -0.03, ssim 0.06
negative: uqi 0.89, paper -0.96, ssim -0.77
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi

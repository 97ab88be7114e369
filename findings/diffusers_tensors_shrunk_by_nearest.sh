#!/usr/bin/env bash
# diffusers shrinks an image that is given as a tensor by dropping pixels: thin lines vanish that a PIL image keeps.
#
# Expected: a pipeline's image processor gives about the same picture whether it is given as a PIL image, as an array or
# as a tensor. All three are allowed, and `resample`, "Resampling filter to use when resizing the image", is lanczos.
# Seen: a drawing of black lines one pixel wide, 1024 pixels a side, is brought to 512. From the PIL image every line is
# there, in grey. From the array and the tensor every second line is black and the others are gone. Setting `resample`
# to another filter changes nothing for them. A picture of 516 pixels, which is brought to 512 without being asked, the
# next multiple of 8, loses one of its 43 lines. There is no error and no warning.
# Why: PIL images are resized by the chosen filter; arrays and tensors by torch's interpolate with its default, nearest.
# Why it matters: whether a model knows a picture is tested by encoding it and measuring the model's error. Drawings,
# text and screenshots that come from a loader as tensors are encoded as other pictures than their files: copies of them
# are missed, and two ways to run one audit disagree. Resize before, with antialiasing, to the size of the model.
#
# Packages: diffusers 0.42.1, torch 2.14.1, Pillow 13.0.0. Where: diffusers/image_processor.py, VaeImageProcessor.resize.
# Its docstring limits the modes fill and crop to PIL images, and says nothing of the filter.
set -euo pipefail

export OMP_NUM_THREADS=1
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check diffusers==0.42.1 torch==2.14.1 Pillow==13.0.0 numpy 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"
export HF_HUB_OFFLINE=1

cat > show.py << 'PYTHON'
from importlib.metadata import version

import numpy as np
import torch
from diffusers.image_processor import VaeImageProcessor
from PIL import Image


def draw(side, places):
    picture = np.full((side, side, 3), 255, dtype=np.uint8)
    picture[:, places] = 0
    return picture


def give(picture):
    floats = picture.astype(np.float32)[None] / 255
    return {
        "PIL image": Image.fromarray(picture),
        "array": floats,
        "tensor": torch.from_numpy(floats).permute(0, 3, 1, 2),
    }


def count_lines(made):
    # Rows are alike; a line is a run of pixels that are clearly darker than white.
    dark = made[0, 0, 0].numpy() < 0.7
    return int((dark & ~np.append(False, dark[:-1])).sum())


print("diffusers", version("diffusers"))
large = draw(1024, [start + start // 16 % 2 for start in range(8, 1024, 16)])
odd = draw(516, list(range(8, 516, 12)))
for resample in ("lanczos", "bilinear"):
    for name, given in give(large).items():
        made = VaeImageProcessor(resample=resample).preprocess(given, height=512, width=512)
        print(f"1024 to 512, {resample}, {name}: {count_lines(made)} of 64 lines, mean {made.mean():.3f}")
for name, given in give(odd).items():
    made = VaeImageProcessor().preprocess(given)
    print(f"516 to {made.shape[-1]}, {name}: {count_lines(made)} of 43 lines")
PYTHON

cat > expected.txt << 'EXPECTED'
diffusers 0.42.1
1024 to 512, lanczos, PIL image: 64 of 64 lines, mean 0.849
1024 to 512, lanczos, array: 32 of 64 lines, mean 0.875
1024 to 512, lanczos, tensor: 32 of 64 lines, mean 0.875
1024 to 512, bilinear, PIL image: 64 of 64 lines, mean 0.875
1024 to 512, bilinear, array: 32 of 64 lines, mean 0.875
1024 to 512, bilinear, tensor: 32 of 64 lines, mean 0.875
516 to 512, PIL image: 43 of 43 lines
516 to 512, array: 42 of 43 lines
516 to 512, tensor: 42 of 43 lines
EXPECTED

"$work/venv/bin/python" show.py 2> messages.txt | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    cat messages.txt >&2
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi

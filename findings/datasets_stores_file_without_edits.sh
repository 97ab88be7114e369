#!/usr/bin/env bash
# An image that was blacked out in memory enters a data set unchanged, and every frame of a GIF enters as the first one.
#
# Expected: Dataset.from_list and Dataset.map store the pixels of the PIL image that they are given.
# Seen: an image that was opened from a file by its name is stored as that file. What was drawn over it is missing, and a
# thumbnail has its full size again. Three frames of a GIF, each found with seek(), become three copies of the first. The
# same happens in `map` over an image folder. There is no error and no warning. What crop, resize or copy return is
# stored right, and so is an image that was opened from an open file in place of a name.
# Why: the column asks only whether the image has a file name, and then stores the name. Pillow keeps the name of an
# image that is changed in place (ImageDraw, paste, thumbnail, putpixel, seek).
# Why it matters: names, faces and marks are blacked out before a collection is handed on; the copy shows all of them.
# A collection of frames that is compared with a model holds one frame many times, and the others never.
#
# Packages: datasets 5.2.0, Pillow 13.0.0. Where: src/datasets/features/image.py, encode_pil_image.
set -euo pipefail

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check datasets==5.2.0 pillow==13.0.0 pyarrow==26.0.1 numpy==2.4.6 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/home"

cat > show.py << 'PYTHON'
from importlib.metadata import version
from pathlib import Path

from datasets import Dataset, disable_progress_bars, load_dataset
from PIL import Image, ImageDraw

disable_progress_bars()
print("datasets", version("datasets"), " Pillow", version("pillow"))
Path("folder").mkdir()
PHOTO = "folder/photo.png"
Image.new("RGB", (64, 64), "white").save(PHOTO)
frames = [Image.new("L", (64, 64), grey) for grey in (0, 100, 200)]
frames[0].save("frames.gif", save_all=True, append_images=frames[1:])


def black_out(image):
    ImageDraw.Draw(image).rectangle([0, 0, 63, 63], fill="black")


def describe(image):
    return f"{image.width} wide, grey {image.convert('L').getpixel((5, 5))}"


def show(name, image):
    given = describe(image)
    print(f"{name}: given {given}; stored {describe(Dataset.from_list([{'image': image}])[0]['image'])}")


drawn = Image.open(PHOTO)
black_out(drawn)
show("black", drawn)
show("black, copied", drawn.copy())
small = Image.open(PHOTO)
small.thumbnail((16, 16))
show("thumbnail", small)
for number in range(3):
    frame = Image.open("frames.gif")
    frame.seek(number)
    show(f"frame {number}", frame)
with open(PHOTO, "rb") as file:
    drawn = Image.open(file)
    black_out(drawn)
    show("black, opened from a file object", drawn)


def black_out_row(row):
    black_out(row["image"])
    return row


folder = load_dataset("imagefolder", data_dir="folder", split="train")
print("map over an image folder: stored", describe(folder.map(black_out_row)[0]["image"]))
PYTHON

cat > expected.txt << 'EXPECTED'
datasets 5.2.0  Pillow 13.0.0
black: given 64 wide, grey 0; stored 64 wide, grey 255
black, copied: given 64 wide, grey 0; stored 64 wide, grey 0
thumbnail: given 16 wide, grey 255; stored 64 wide, grey 255
frame 0: given 64 wide, grey 0; stored 64 wide, grey 0
frame 1: given 64 wide, grey 100; stored 64 wide, grey 0
frame 2: given 64 wide, grey 200; stored 64 wide, grey 0
black, opened from a file object: given 64 wide, grey 0; stored 64 wide, grey 0
map over an image folder: stored 64 wide, grey 255
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi

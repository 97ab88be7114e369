#!/usr/bin/env bash
# A JPEG that was changed in memory and is saved as JPEG XL holds the unchanged file: what was blacked out is back.
#
# Expected: `save` writes the pixels that the image has in memory, as it does to every other format.
# Seen: an image that was opened from a JPEG file by its name is saved as a transcription of that file. What was drawn
# over it is missing, and a thumbnail has its full size again. `quality` and `lossless` change nothing. The one warning
# speaks of a lossless image, and not of lost changes. With `lossless_jpeg=False`, or from an open file in place of a
# name, the changes are kept; they are also kept by crop, resize or convert, which make a new image.
# Why: the plugin asks only whether the image came from a JPEG file, and reads that file again. Pillow keeps the format
# and the name of an image that is changed in place (ImageDraw, paste, thumbnail, putpixel).
# Why it matters: names, faces and marks of other holders are blacked out with ImageDraw before images are handed on or
# used for training. The script looks right, the image in memory looks right, and the file shows everything.
#
# Packages: pillow-jxl-plugin 1.3.8, Pillow 13.0.0. Where: pillow_jxl/JpegXLImagePlugin.py, _save.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check pillow-jxl-plugin==1.3.8 pillow==13.0.0 packaging==26.4 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > show.py << 'PYTHON'
import warnings
from importlib.metadata import version

import pillow_jxl
from PIL import Image, ImageDraw

# The one warning is about JPEG reconstruction; see above.
warnings.simplefilter("ignore")
print("pillow-jxl-plugin", version("pillow-jxl-plugin"), " Pillow", version("pillow"))
Image.new("RGB", (64, 64), "white").save("photo.jpg")


def black_out(image):
    ImageDraw.Draw(image).rectangle([0, 0, 63, 63], fill="black")


def describe(image):
    return f"{image.width} wide, {'white' if image.convert('L').getpixel((5, 5)) > 127 else 'black'}"


def show(name, source, edit, file, **options):
    image = Image.open(source)
    edit(image)
    image.save(file, **options)
    with Image.open(file) as saved:
        print(f"{name}: in memory {describe(image)}; saved {describe(saved)}")


show("black, as PNG", "photo.jpg", black_out, "saved.png")
show("black, as JXL", "photo.jpg", black_out, "saved.jxl")
show("black, as JXL, quality 50", "photo.jpg", black_out, "saved.jxl", quality=50)
show("black, as JXL, lossless", "photo.jpg", black_out, "saved.jxl", lossless=True)
show("thumbnail, as JXL", "photo.jpg", lambda image: image.thumbnail((16, 16)), "saved.jxl")
show("black, as JXL, lossless_jpeg=False", "photo.jpg", black_out, "saved.jxl", lossless_jpeg=False)
with open("photo.jpg", "rb") as file:
    show("black, as JXL, opened from a file object", file, black_out, "saved.jxl")
PYTHON

cat > expected.txt << 'EXPECTED'
pillow-jxl-plugin 1.3.8  Pillow 13.0.0
black, as PNG: in memory 64 wide, black; saved 64 wide, black
black, as JXL: in memory 64 wide, black; saved 64 wide, white
black, as JXL, quality 50: in memory 64 wide, black; saved 64 wide, white
black, as JXL, lossless: in memory 64 wide, black; saved 64 wide, white
thumbnail, as JXL: in memory 16 wide, white; saved 64 wide, white
black, as JXL, lossless_jpeg=False: in memory 64 wide, black; saved 64 wide, black
black, as JXL, opened from a file object: in memory 64 wide, black; saved 64 wide, black
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi

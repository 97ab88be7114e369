#!/usr/bin/env bash
# litdata stores a palette image without its palette: a GIF or an indexed PNG is read back as an all-black image.
#
# Expected: `optimize` with a Pillow image in the sample stores the picture; what StreamingDataset gives back looks the
# same. So it is for the modes RGB, RGBA, L, LA, CMYK, 1 and I;16, and for an image opened from a JPEG file. What cannot
# be stored is refused.
# Seen: an image of mode P comes back in mode P and with the right size and indices, so that numpy.array of both is the
# same. Its palette is gone: `convert("RGB")` is black at every pixel, whatever the picture was. Three different
# pictures are then one and the same. There is no error and no warning. The README calls what is stored "Uncompressed
# pixels".
# Why: the image is written as its mode, its size and its raw bytes, which in mode P are only the indices.
# Why it matters: drawings, logos and screenshots are often kept as GIF or indexed PNG, which Pillow opens in mode P. In
# a set that is audited or trained on they are black, with one descriptor and one hash for all of them, so that
# unrelated pictures are copies of each other and no real copy is found. Call convert("RGBA") before they are stored.
#
# Packages: litdata 0.2.76, Pillow 13.0.0. Where: litdata/streaming/serializers.py, PILSerializer.
set -euo pipefail

export OMP_NUM_THREADS=1
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check litdata==0.2.76 pillow==13.0.0 torch==2.14.1 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"
export HOME="$work"

cat > show.py << 'PYTHON'
from importlib.metadata import version

import litdata
import numpy as np
from PIL import Image

# Three different drawings of four colours, in a file of each kind.
KINDS = (("indexed PNG", "png", "P"), ("GIF", "gif", "P"), ("RGB PNG", "png", "RGB"), ("JPEG", "jpg", "RGB"))


def draw(number, mode):
    indices = np.random.default_rng(number).integers(0, 4, size=(4, 4), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    image = Image.fromarray(indices).convert("P")
    image.putpalette([255, 255, 255, 200, 30, 30, 30, 160, 60, 40, 60, 200])
    return image if mode == "P" else image.convert(mode)


def load(file):
    return {"image": Image.open(file)}


def colours(images):
    return [np.asarray(image.convert("RGB")) for image in images]


def main():
    print("litdata", version("litdata"), " Pillow", version("pillow"))
    for kind, suffix, mode in KINDS:
        files = [f"{number}.{suffix}" for number in range(3)]
        for number, file in enumerate(files):
            draw(number, mode).save(file)
        folder = f"stored {kind}"
        litdata.optimize(fn=load, inputs=files, output_dir=folder, chunk_bytes="1MB", num_workers=1, verbose=False)
        stored = [sample["image"] for sample in litdata.StreamingDataset(folder, shuffle=False)]
        if not isinstance(stored[0], Image.Image):  # JPEGs come back as tensors
            stored = [Image.fromarray(np.asarray(image).transpose(1, 2, 0)) for image in stored]
        before, after = colours(map(Image.open, files)), colours(stored)
        equal = all(np.array_equal(np.asarray(Image.open(f)), np.asarray(s)) for f, s in zip(files, stored))
        print(f"{kind}: numpy.array the same: {equal}")
        for name, images in (("file", before), ("stored", after)):
            pictures = len({image.tobytes() for image in images})
            print(f"  {name}: {pictures} different pictures, brightest value {max(image.max() for image in images)}")


if __name__ == "__main__":
    main()
PYTHON

cat > expected.txt << 'EXPECTED'
litdata 0.2.76  Pillow 13.0.0
indexed PNG: numpy.array the same: True
  file: 3 different pictures, brightest value 255
  stored: 1 different pictures, brightest value 0
GIF: numpy.array the same: True
  file: 3 different pictures, brightest value 255
  stored: 1 different pictures, brightest value 0
RGB PNG: numpy.array the same: True
  file: 3 different pictures, brightest value 255
  stored: 3 different pictures, brightest value 255
JPEG: numpy.array the same: True
  file: 3 different pictures, brightest value 255
  stored: 3 different pictures, brightest value 255
EXPECTED

"$work/venv/bin/python" show.py > all.txt 2> messages.txt || { cat all.txt messages.txt >&2; exit 1; }
# The package prints about its progress as well.
sed -n '/^litdata/p; /: numpy/p; /different pictures/p' all.txt | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    cat all.txt messages.txt >&2
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi

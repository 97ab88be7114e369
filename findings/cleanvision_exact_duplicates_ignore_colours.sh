#!/usr/bin/env bash
# Palette pictures of other colours are "exact duplicates" to CleanVision, and so are blank ones of other shapes.
#
# Expected: exact duplicates are pictures that look the same in every pixel.
# Seen: three PNGs with a palette (red and white, the same with white and red swapped, dark blue and yellow) are one set
# of exact duplicates. So are a tall and a wide grey rectangle. The red picture and its own copy in RGB are none.
# Why: the bytes of the pixel array are hashed. In a picture with a palette these are places in the palette, not
# colours; and neither the size nor the mode is part of what is hashed.
# Why it matters: of exact duplicates all but one are deleted before training, without anybody looking. Icons, stamps,
# pixel art and drawings in few colours are kept with a palette, and a series in several colours comes down to one.
# Convert to RGB before the search.
#
# Package: cleanvision 0.3.7. Where: the MD5 hash of exact duplicates in
# cleanvision/issue_managers/duplicate_issue_manager.py.
set -euo pipefail

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check cleanvision==0.3.7 pillow==13.0.0 numpy==2.4.6 pandas==3.1.1 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > show.py << 'PYTHON'
import contextlib
import io
from importlib.metadata import version
from pathlib import Path

from cleanvision import Imagelab
from PIL import Image

RED, WHITE, BLUE, YELLOW = (255, 0, 0), (255, 255, 255), (0, 0, 120), (250, 250, 0)
folder = Path("pictures")
folder.mkdir()


def save_squares(name, *colours):
    picture = Image.new("P", (40, 20))
    picture.putpalette([value for colour in colours for value in colour])
    picture.putdata([(x // 5 + y // 5) % 2 for y in range(20) for x in range(40)])
    picture.save(folder / f"{name}.png")
    return picture


save_squares("red-white", RED, WHITE).convert("RGB").save(folder / "red-white-rgb.png")
save_squares("white-red", WHITE, RED)
save_squares("blue-yellow", BLUE, YELLOW)
Image.new("L", (40, 20), 130).save(folder / "grey-wide.png")
Image.new("L", (20, 40), 130).save(folder / "grey-tall.png")

with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    lab = Imagelab(data_path=str(folder))
    lab.find_issues({"exact_duplicates": {}}, n_jobs=1)
print("cleanvision", version("cleanvision"))
for found in sorted(sorted(Path(path).stem for path in group) for group in lab.info["exact_duplicates"]["sets"]):
    print("exact duplicates:", ", ".join(found))
PYTHON

cat > expected.txt << 'EXPECTED'
cleanvision 0.3.7
exact duplicates: blue-yellow, red-white, white-red
exact duplicates: grey-tall, grey-wide
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi

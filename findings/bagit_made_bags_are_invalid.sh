#!/usr/bin/env bash
# make_bag makes bags that are invalid at once, when a file is called "100%0A.png" or ends in a blank.
#
# Expected: a bag that make_bag has just made is valid, or make_bag refuses the file name. RFC 8493 has "%" written as
# "%25" in the lists of digests, so that every name can be read back.
# Seen: no error when the bag is made. validate() then says that it is incomplete: it misses a file that never was, and
# has an unexpected one. Names are cut where they end in a blank, and at characters such as U+2028 and U+0085.
# Why: carriage return and line feed are written as %0D and %0A, but "%" itself is not; both are turned back when the
# list is read. Lines are stripped of blanks, and read with codecs.open, which ends a line wherever str.splitlines does.
# Why it matters: image collections have such names (exports of web addresses, copies from other systems). The recipient
# of the bag is told that files are missing. Validate every bag right after making it.
#
# Package: bagit 1.9.0. Where: bagit.py, _encode_filename and _load_manifests.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check bagit==1.9.0 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > show.py << 'PYTHON'
import logging
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path

warnings.simplefilter("ignore")
import bagit

logging.getLogger("bagit").setLevel(logging.CRITICAL + 1)
print("bagit", version("bagit"))
for name in ("fox.png", "100%.png", "100%0A.png", "fox ", "fox\u2028red.png"):
    folder = Path(tempfile.mkdtemp())
    (folder / name).write_text("image")
    bag = bagit.make_bag(str(folder), checksums=["sha256"])
    listed = [entry for entry in bag.entries if entry.startswith("data")]
    print(f"{name!a}: listed as {listed!a}, valid: {bag.is_valid()}")
PYTHON
cat > expected.txt << 'EXPECTED'
bagit 1.9.0
'fox.png': listed as ['data/fox.png'], valid: True
'100%.png': listed as ['data/100%.png'], valid: True
'100%0A.png': listed as ['data/100\n.png'], valid: False
'fox ': listed as ['data/fox'], valid: False
'fox\u2028red.png': listed as ['data/fox'], valid: False
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi

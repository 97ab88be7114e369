#!/usr/bin/env bash
# Voyager's get_distance of two vectors changes, by inner product, when a third one is added to the index.
#
# Expected: get_distance(a, b) is the distance "between two provided vectors", so nothing else counts. By inner product
# that is 1 - a.b, as in the answers of query.
# Seen: it is right while the index is empty. With images in it a vector perpendicular to the query is at -109, not 1,
# and with a third, longer one at -360. That is nearer than a vector in the query's own direction. query gives the right
# distances and order in all cases. Asking changes later answers, too: get_distance of a long vector in an empty index
# has the same effect as adding it.
# Why: for the search each stored vector gets one more number, so that all have the length of the longest; a query gets
# 0 there. get_distance gives that number to both its vectors, so that their product is added to the inner product. It
# also rounds it down to a whole number, and takes a vector that it is asked about for the longest from then on.
# Why it matters: an audit searches the training set for candidates and measures pairs afterwards, or sets its threshold
# by the distances of known pairs. The two are then numbers of different kinds, and the same pair has another distance
# in every collection. Descriptors of length 1 are spared, raw embeddings (CLIP's before they are normalised) are not.
# Compute 1 - a.b yourself.
#
# Package: voyager 2.2.3. The manual names the additional number for the space, not for get_distance. Where: getDistance
# in cpp/src/TypedIndex.h.
set -euo pipefail

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check voyager==2.2.3 numpy==2.4.6 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > show.py << 'PYTHON'
from importlib.metadata import version

import numpy as np
from voyager import Index, Space

generated = np.array([3, 0, 0, 0], np.float32)
IMAGES = {"same direction": [12, 0, 0, 0], "perpendicular": [0, 6, 0, 0]}
VECTORS = {name: np.array(one, np.float32) for name, one in IMAGES.items()}
LONG = np.array([0, 0, 0, 20], np.float32)


def make_index(vectors):
    index = Index(Space.InnerProduct, 4)
    for vector in vectors:
        index.add_item(vector)
    return index


def show_distances(title, vectors, asked_before=()):
    print(title)
    for number, (name, vector) in enumerate(VECTORS.items()):
        index = make_index(vectors)  # a new one for each question
        found = dict(zip(*index.query(generated, len(index)), strict=True)) if vectors else {}
        for other in asked_before:
            index.get_distance(other, other)
        right, answer = 1 - float(generated @ vector), index.get_distance(generated, vector)
        queried = f"{found[number]:.0f}" if found else "none"
        print(f"  {name}: 1 - a.b is {right:.0f}, query {queried}, get_distance {answer:.0f}")


print("voyager", version("voyager"))
show_distances("empty index", [])
show_distances("two images", [*VECTORS.values()])
show_distances("the same two and a third, longer one", [*VECTORS.values(), LONG])
show_distances("empty index that was asked about the longer one before", [], asked_before=[LONG])
PYTHON

cat > expected.txt << 'EXPECTED'
voyager 2.2.3
empty index
  same direction: 1 - a.b is -35, query none, get_distance -35
  perpendicular: 1 - a.b is 1, query none, get_distance 1
two images
  same direction: 1 - a.b is -35, query -35, get_distance -35
  perpendicular: 1 - a.b is 1, query 1, get_distance -109
the same two and a third, longer one
  same direction: 1 - a.b is -35, query -35, get_distance -339
  perpendicular: 1 - a.b is 1, query 1, get_distance -360
empty index that was asked about the longer one before
  same direction: 1 - a.b is -35, query none, get_distance -339
  perpendicular: 1 - a.b is 1, query none, get_distance -360
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi

#!/usr/bin/env bash
# permute gives the adjusted p-value of one image to another, unless the images happen to be in a fitting order.
#
# Expected: fwer_minp returns "array of adjusted p-values": the one at place i belongs to the p-value at place i, is not
# smaller, and the smallest p-value has the smallest adjusted one. Listing the same images in another order changes
# nothing but the order of the answer.
# Seen: four images are tested with the same 999 permutations. One is copied (p = 0.001) and three are not. Listed with
# the p-values ascending, the copied image has 0.001 after the adjustment and no other is below 0.38. Listed otherwise,
# it has 0.387, and the 0.001 goes to an image with p = 0.152 or to one with 0.454, which is less than the p-value it is
# made of. It is so in 14 of the 24 orders of four images; in 12 of them the copied image is no longer significant.
# Why: the p-values are sorted for the work. They are put back with the order that sorted them, where the inverse of
# that order is needed. The two are the same only for orders that are undone when they are applied twice (ascending is
# one, and so is each order of two images).
# Why it matters: the image that is reported as copied is not the one that was, and the copied one is cleared. All
# values are valid p-values, so that nothing looks wrong. Sort the p-values and the columns of the distribution before
# the call, and put the answer back yourself.
#
# Package: permute 0.2. Source that is relied on: the docstring of permute.npc.fwer_minp. Where: its last two lines.
# (The smallest values are too small by default, 0.001 where 0.004 is right: open issue 223 of its tracker, another matter:
# the places are wrong with plus1=False, too.)
set -euo pipefail

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check permute==0.2 cryptorandom==0.4 numpy==2.4.6 scipy==1.17.1 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > show.py << 'PYTHON'
from importlib.metadata import version
from itertools import permutations

import numpy as np
from permute.npc import fwer_minp

PERMUTATIONS = 999


def test(similarity, random):
    """P-values of the similarities, and the statistics under permutation, one column for each image."""
    shuffled = random.standard_normal((PERMUTATIONS, len(similarity)))
    return (1 + (shuffled >= similarity).sum(axis=0)) / (PERMUTATIONS + 1), shuffled


def adjust(order):
    """By image, whatever the order in which they are handed over."""
    adjusted = np.empty(len(order))
    adjusted[order] = fwer_minp(pvalues[order], shuffled[:, order], combine="tippett")
    return adjusted


def show(title, order):
    for_image = adjust(np.array(order))
    print(f"{title}:", ", ".join(f"{NAMES[one]} {pvalues[one]:.3f} -> {for_image[one]:.3f}" for one in order))


NAMES = ["copied", "A", "B", "C"]
print("permute", version("permute"))
pvalues, shuffled = test(np.array([6.0, 1.0, 0.1, -1.5]), np.random.default_rng(0))
show("ascending", [0, 1, 2, 3])
show("descending", [3, 2, 1, 0])
show("another order", [2, 3, 1, 0])
show("a third order", [1, 2, 0, 3])

right = adjust(np.arange(4))
orders = [np.array(order) for order in permutations(range(4))]
wrong = [order for order in orders if not np.allclose(adjust(order), right)]
undone_by_itself = [order for order in orders if (order[order] == np.arange(4)).all()]
print(f"other values for the same images in {len(wrong)} of {len(orders)} orders;", end=" ")
print(f"orders that undo themselves: {len(undone_by_itself)}")
below = sum(bool((adjust(order) < pvalues - 1e-9).any()) for order in orders)
print(f"an adjusted p-value is below its p-value in {below}")
lost = sum(bool(adjust(order)[0] > 0.05) for order in orders)
print(f"the copied image is not significant in {lost}")
PYTHON

cat > expected.txt << 'EXPECTED'
permute 0.2
ascending: copied 0.001 -> 0.001, A 0.152 -> 0.387, B 0.454 -> 0.705, C 0.936 -> 0.936
descending: C 0.936 -> 0.936, B 0.454 -> 0.705, A 0.152 -> 0.387, copied 0.001 -> 0.001
another order: B 0.454 -> 0.936, C 0.936 -> 0.705, A 0.152 -> 0.001, copied 0.001 -> 0.387
a third order: A 0.152 -> 0.705, B 0.454 -> 0.001, copied 0.001 -> 0.387, C 0.936 -> 0.936
other values for the same images in 14 of 24 orders; orders that undo themselves: 10
an adjusted p-value is below its p-value in 14
the copied image is not significant in 12
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi

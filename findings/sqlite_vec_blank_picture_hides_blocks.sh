#!/usr/bin/env bash
# One blank picture in the wrong row of a sqlite-vec table hides a thousand other pictures or more from every search.
#
# Expected: a search with "match" and k goes through all rows and returns the k nearest. A blank picture whose
# descriptor is all zeros has no cosine distance (vec_distance_cosine gives NULL). It should be last or left out, and
# change nothing for the other pictures.
# Seen: 3000 colour histograms are searched with 300 of their own. Without a blank picture all 300 copies are found, and
# with one in row 2 as well. In row 1 it makes 102 copies disappear, with k = 1, 2 and 10, although they are at distance
# 0, and in row 1025 it makes 204 disappear. The answers are k other pictures, none with NULL. In row 2049 it comes
# first itself, with NULL: with k = 1 no copy is left, with k = 2 all are second. If the books that the pictures are
# from are a partition key, a blank first page of the 16th of 30 books hides the copies in the first 16. If each book
# begins with a blank page, the 10 copies in the last book are found from k = 2 on, and the other 290 not.
# Why: the rows are kept in blocks of 1024, those of each partition apart. The smallest distance of a block is sought
# from its first row on, and none is smaller than NaN, so that NaN stays first. It also goes to the front of what was
# found in the blocks before. When the next block is merged, NaN is never the smaller one, so that the next block fills
# the answer.
# Why it matters: the first page of a scanned book and the first frame of a video are often blank, and many pipelines
# store zeros for such a picture or for one that could not be read. The audit then says that there is no copy, and the
# answers look ordinary. Ask with "and distance > -1": NaN is dropped before the search, and all 300 copies are first in
# all cases below. Or do not store vectors of zeros.
#
# Package: sqlite-vec 0.1.9, here with apsw 3.54.1.0. The API reference does not mention zeros. A fork's issue speaks of
# the order (vlasky/sqlite-vec 8), not of lost rows. Where: min_idx, merge_sorted_lists and vec0Filter_knn_chunks_iter
# in sqlite-vec.c.
set -euo pipefail

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check sqlite-vec==0.1.9 apsw==3.54.1.0 numpy==2.4.6 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > show.py << 'PYTHON'
from importlib.metadata import version

import apsw
import numpy as np
import sqlite_vec

IMAGES, COLOURS, PAGES = 3000, 64, 100
SEARCHED = range(10, IMAGES + 1, 10)  # rows count from 1; none of these is blank

histograms = np.random.default_rng(0).dirichlet(np.ones(COLOURS), IMAGES).astype(np.float32)
database = apsw.Connection(":memory:")
database.enable_load_extension(True)
database.load_extension(sqlite_vec.loadable_path())


def fill(blank, books):
    stored = histograms.copy()
    stored[[row - 1 for row in blank]] = 0
    database.execute("drop table if exists images")
    key = "book integer partition key, " if books else ""
    database.execute(f"create virtual table images using vec0({key}colours float[{COLOURS}] distance_metric=cosine)")
    with database:
        for row, vector in enumerate(stored, 1):
            if books:
                values = (row, (row - 1) // PAGES, vector.tobytes())
                database.execute("insert into images(rowid, book, colours) values (?, ?, ?)", values)
            else:
                database.execute("insert into images(rowid, colours) values (?, ?)", (row, vector.tobytes()))


def search(k, condition):
    query = f"select rowid, distance from images where colours match ? and k = ? {condition} order by distance"
    found = first = null = 0
    for row in SEARCHED:
        answer = database.execute(query, (histograms[row - 1].tobytes(), k)).fetchall()
        assert len(answer) == k
        rows, distances = zip(*answer, strict=True)
        found, first, null = found + (row in rows), first + (row == rows[0]), null + (None in distances)
    return found, first, null


def show(title, blank, books=False):
    fill(blank, books)
    print(title)
    for k in (1, 2, 10):
        found, first, null = search(k, "")
        print(f"  k={k}: {found} of {len(SEARCHED)} copies found, {first} first, NULL in {null} answers;", end=" ")
        print("with distance > -1: {} found, {} first, NULL in {}".format(*search(k, "and distance > -1")))


print("sqlite-vec", version("sqlite-vec"))
show("no blank picture", [])
for row in (2, 1, 1025, 2049):
    show(f"blank in row {row}", [row])
show("books, no blank page", [], books=True)
show("books, the 16th of 30 begins with a blank page", [15 * PAGES + 1], books=True)
show("books, each begins with a blank page", range(1, IMAGES, PAGES), books=True)
PYTHON

cat > expected.txt << 'EXPECTED'
sqlite-vec 0.1.9
no blank picture
  k=1: 300 of 300 copies found, 300 first, NULL in 0 answers; with distance > -1: 300 found, 300 first, NULL in 0
  k=2: 300 of 300 copies found, 300 first, NULL in 0 answers; with distance > -1: 300 found, 300 first, NULL in 0
  k=10: 300 of 300 copies found, 300 first, NULL in 0 answers; with distance > -1: 300 found, 300 first, NULL in 0
blank in row 2
  k=1: 300 of 300 copies found, 300 first, NULL in 0 answers; with distance > -1: 300 found, 300 first, NULL in 0
  k=2: 300 of 300 copies found, 300 first, NULL in 0 answers; with distance > -1: 300 found, 300 first, NULL in 0
  k=10: 300 of 300 copies found, 300 first, NULL in 0 answers; with distance > -1: 300 found, 300 first, NULL in 0
blank in row 1
  k=1: 198 of 300 copies found, 198 first, NULL in 0 answers; with distance > -1: 300 found, 300 first, NULL in 0
  k=2: 198 of 300 copies found, 198 first, NULL in 0 answers; with distance > -1: 300 found, 300 first, NULL in 0
  k=10: 198 of 300 copies found, 198 first, NULL in 0 answers; with distance > -1: 300 found, 300 first, NULL in 0
blank in row 1025
  k=1: 96 of 300 copies found, 96 first, NULL in 0 answers; with distance > -1: 300 found, 300 first, NULL in 0
  k=2: 96 of 300 copies found, 96 first, NULL in 0 answers; with distance > -1: 300 found, 300 first, NULL in 0
  k=10: 96 of 300 copies found, 96 first, NULL in 0 answers; with distance > -1: 300 found, 300 first, NULL in 0
blank in row 2049
  k=1: 0 of 300 copies found, 0 first, NULL in 300 answers; with distance > -1: 300 found, 300 first, NULL in 0
  k=2: 300 of 300 copies found, 0 first, NULL in 300 answers; with distance > -1: 300 found, 300 first, NULL in 0
  k=10: 300 of 300 copies found, 0 first, NULL in 300 answers; with distance > -1: 300 found, 300 first, NULL in 0
books, no blank page
  k=1: 300 of 300 copies found, 300 first, NULL in 0 answers; with distance > -1: 300 found, 300 first, NULL in 0
  k=2: 300 of 300 copies found, 300 first, NULL in 0 answers; with distance > -1: 300 found, 300 first, NULL in 0
  k=10: 300 of 300 copies found, 300 first, NULL in 0 answers; with distance > -1: 300 found, 300 first, NULL in 0
books, the 16th of 30 begins with a blank page
  k=1: 140 of 300 copies found, 140 first, NULL in 0 answers; with distance > -1: 300 found, 300 first, NULL in 0
  k=2: 140 of 300 copies found, 140 first, NULL in 0 answers; with distance > -1: 300 found, 300 first, NULL in 0
  k=10: 140 of 300 copies found, 140 first, NULL in 0 answers; with distance > -1: 300 found, 300 first, NULL in 0
books, each begins with a blank page
  k=1: 0 of 300 copies found, 0 first, NULL in 300 answers; with distance > -1: 300 found, 300 first, NULL in 0
  k=2: 10 of 300 copies found, 0 first, NULL in 300 answers; with distance > -1: 300 found, 300 first, NULL in 0
  k=10: 10 of 300 copies found, 0 first, NULL in 300 answers; with distance > -1: 300 found, 300 first, NULL in 0
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi

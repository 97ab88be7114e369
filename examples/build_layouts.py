"""Build the corpus of a lab of 128-pixel images from a captioned one: plants, shared layouts and images merely alike.

    python examples/build_openclipart.py --out corpus
    python examples/build_layouts.py --images corpus --out layouts-corpus --seed 129
    imgaudit lab train examples/recipes/report-128.toml --images layouts-corpus --out report-128

The same images and the same seed give the same corpus.
"""

import argparse
from collections import Counter
from pathlib import Path

from imgaudit.lab.corpus import read_corpus, write_corpus
from imgaudit.lab.layout_corpus import LayoutCounts, build_layout_corpus

SIDE = 128
"""Pixels per side: from here on, local features can say where a part of an image was copied."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="folder with images and captions in metadata.jsonl")
    parser.add_argument("--out", type=Path, required=True, help="folder for the new corpus")
    parser.add_argument("--seed", type=int, required=True, help="decides roles, layouts and contents")
    arguments = parser.parse_args()

    entries = build_layout_corpus(read_corpus(arguments.images), arguments.out, SIDE, arguments.seed, LayoutCounts())
    write_corpus(entries, arguments.out)
    counts = Counter(entry.role for entry in entries)
    print(", ".join(f"{count:,} {role}" for role, count in counts.most_common()))


if __name__ == "__main__":
    main()

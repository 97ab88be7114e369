"""Build the corpus of a lab of 128-pixel images from a captioned one: plants, shared layouts and images merely alike.

    python examples/build_openclipart.py --out corpus
    python examples/build_layouts.py --images corpus --out layouts-corpus --seed 129 \\
        --counts examples/recipes/report-128-layouts.toml
    imgaudit lab train examples/recipes/report-128.toml --images layouts-corpus --out report-128

The same images, counts and seed give the same corpus. Without --counts it is that of `fit-128` (seed 128).
"""

import argparse
import tomllib
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
    parser.add_argument("--counts", type=Path, help="TOML file with the keys of LayoutCounts")
    arguments = parser.parse_args()

    counts = tomllib.loads(arguments.counts.read_text(encoding="utf-8")) if arguments.counts else {}
    entries = build_layout_corpus(
        read_corpus(arguments.images), arguments.out, SIDE, arguments.seed, LayoutCounts.model_validate(counts)
    )
    write_corpus(entries, arguments.out)
    roles = Counter(entry.role for entry in entries)
    print(", ".join(f"{count:,} {role}" for role, count in roles.most_common()))


if __name__ == "__main__":
    main()

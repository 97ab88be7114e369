"""Build a captioned corpus from Debian's public-domain package openclipart-png.

    apt-get install openclipart-png
    python examples/build_openclipart.py --out corpus
    imgaudit lab train examples/recipes/demo.toml --images corpus --out demo-lab

Drawings that declare too many pixels (some have 168 million) are left out before they are decoded. Later,
`imgaudit lab train` clusters near copies and makes the split as its recipe says.
"""

import argparse
import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from imgaudit.exceptions import ImageError
from imgaudit.io.framing import frame_image
from imgaudit.io.images import load_image
from imgaudit.io.listing import find_images
from imgaudit.lab.corpus import CorpusEntry, write_corpus
from imgaudit.schema.protocol import Framing

SIDE = 128
"""Pixels per side of the corpus images; a lab trains at fewer."""


def caption(path: Path, source: Path) -> str:
    """Join title and categories, as the package's paths give them: "dolphin, fish, animals"."""
    words = re.sub(r"[_\-+.]+", " ", path.stem)
    words = re.sub(r"(?<=[a-z])\d+$|\b\d+\b", " ", words)
    title = " ".join(words.split()).lower() or path.stem.lower()
    categories = [part.replace("_", " ").lower() for part in path.relative_to(source).parts[:-1]]
    return ", ".join([title, *reversed(categories)][:3])


def prepare(path: Path) -> Image.Image | str:
    """Return the drawing on a white square, or the reason why it is left out."""
    try:
        image = load_image(path).pixels
    except ImageError as error:
        return str(error)
    framed = frame_image(image, SIDE, Framing.PAD)
    if np.asarray(framed, dtype=np.float32).std() < 12:
        return "is nearly blank"
    return framed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=Path("/usr/share/openclipart/png"))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()

    paths = find_images(arguments.source)
    with ProcessPoolExecutor() as pool:
        prepared = list(pool.map(prepare, paths, chunksize=32))
    kept = [(path, image) for path, image in zip(paths, prepared, strict=True) if isinstance(image, Image.Image)]
    print(f"{len(paths)} drawings, {len(paths) - len(kept)} left out as blank, damaged or too large")

    (arguments.out / "images").mkdir(parents=True, exist_ok=True)
    entries = []
    for number, (path, image) in enumerate(kept):
        target = arguments.out / "images" / f"{number:05d}.png"
        image.save(target)
        entries.append(CorpusEntry(target, caption(path, arguments.source)))
    write_corpus(entries, arguments.out)


if __name__ == "__main__":
    main()

"""Build the corpus of the `demo` lab from Debian's public-domain package openclipart-png.

    apt-get install openclipart-png
    python examples/build_openclipart.py --out corpus
    imgaudit lab train examples/recipes/demo.toml --images corpus --out demo-lab

Drawings that declare too many pixels (some have 168 million) are left out before they are decoded, near copies are
clustered and one per cluster kept, and only then is the corpus split into planted, seen once, held out and background.
"""

import argparse
import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from imgaudit.config import Framing
from imgaudit.exceptions import ImageError
from imgaudit.images import find_images, frame_image, load_image
from imgaudit.lab.corpus import CorpusEntry, near_copy_clusters, split_corpus, write_corpus
from imgaudit.lab.recipe import LabRecipe

SIDE = 128
"""Corpus images are kept at this side; a lab trains at a smaller one."""


def caption(path: Path, source: Path) -> str:
    """Title and categories, as the package's paths give them: "dolphin, fish, animals"."""
    words = re.sub(r"[_\-+.]+", " ", path.stem)
    words = re.sub(r"(?<=[a-z])\d+$|\b\d+\b", " ", words)
    title = " ".join(words.split()).lower() or path.stem.lower()
    categories = [part.replace("_", " ").lower() for part in path.relative_to(source).parts[:-1]]
    return ", ".join([title, *reversed(categories)][:3])


def prepare(path: Path) -> Image.Image | str:
    """The drawing on a white square, or the reason it is left out."""
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
    parser.add_argument("--recipe", type=Path, default=Path(__file__).parent / "recipes" / "demo.toml")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--planted", type=int, default=64)
    parser.add_argument("--seen-once", type=int, default=80)
    parser.add_argument("--held-out", type=int, default=700)
    arguments = parser.parse_args()
    recipe = LabRecipe.read(arguments.recipe)

    paths = find_images(arguments.source)
    with ProcessPoolExecutor() as pool:
        prepared = list(pool.map(prepare, paths, chunksize=32))
    kept = [(path, image) for path, image in zip(paths, prepared, strict=True) if isinstance(image, Image.Image)]
    print(f"{len(paths)} drawings, {len(paths) - len(kept)} left out as blank, damaged or too large")

    small = np.stack([np.asarray(frame_image(image, recipe.resolution, Framing.PAD)) for _, image in kept])
    labels = near_copy_clusters(small)
    _, first = np.unique(labels, return_index=True)
    print(f"{len(kept)} usable, {len(first)} clusters of near copies; one of each kept")

    (arguments.out / "images").mkdir(parents=True, exist_ok=True)
    entries = []
    for number, index in enumerate(sorted(first)):
        path, image = kept[index]
        target = arguments.out / "images" / f"{number:05d}.png"
        image.save(target)
        entries.append(CorpusEntry(target, caption(path, arguments.source)))
    split = split_corpus(
        entries,
        planted_repeats=recipe.planted_repeats,
        planted=arguments.planted,
        seen_once=arguments.seen_once,
        held_out=arguments.held_out,
        seed=recipe.seed,
    )
    write_corpus(split, arguments.out)
    for role in ("planted", "seen_once", "held_out", "background"):
        print(f"{role:12} {sum(entry.role == role for entry in split)}")


if __name__ == "__main__":
    main()

"""Pictures for the benchmark of copies: different ones, split in two halves, and what is made of them."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from imgaudit.benchmark.copies.transformations import STRENGTHS, TRANSFORMATIONS, transform
from imgaudit.exceptions import ImageError, InputError
from imgaudit.io.framing import is_single_colour
from imgaudit.io.images import load_image
from imgaudit.io.listing import find_images
from imgaudit.lab.corpus import cluster_near_copies

LARGEST_SIDE = 320
"""Longer sides are brought to it first."""

SMALLEST_SIDE = 64
"""Smaller pictures are left out: a quarter of them is nothing."""


@dataclass(frozen=True)
class Original:
    """One original."""

    sha256: str
    """Of its file."""
    image: Image.Image
    """RGB, transparent parts white, at most 320 pixels a side."""


def read_halves(
    folders: Sequence[Path], count: int, *, seed: int, on_progress: Callable[[int, int], None]
) -> tuple[list[Original], list[Original]]:
    """Two halves of `count` pictures each, no two of which are near copies; evenly from all folders.

    Raises InputError when there are too few.
    """
    chosen: list[Original] = []
    for folder in folders:
        files = find_images(folder)
        Random(seed).shuffle(files)
        share, own = -(-2 * count // len(folders)), 0
        # Half as many again, as near copies and what cannot be used go.
        for path in files:
            if own >= share * 3 // 2:
                break
            picture = _read(path)
            if picture is not None:
                chosen.append(picture)
                own += 1
                on_progress(len(chosen), 3 * count)
    different = _different(chosen)
    if len(different) < 2 * count:
        raise InputError(
            f"expected {2 * count} different pictures of at least {SMALLEST_SIDE} pixels a side, but the folders have "
            f"{len(different)}; name more folders or ask for fewer"
        )
    different.sort(key=lambda picture: hashlib.sha256(f"{seed}:{picture.sha256}".encode()).hexdigest())
    return different[:count], different[count : 2 * count]


def _read(path: Path) -> Original | None:
    try:
        loaded = load_image(path)
    except ImageError:
        return None
    image = loaded.pixels.convert("RGB")
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.BICUBIC)
    if min(image.size) < SMALLEST_SIDE or is_single_colour(image):
        return None
    return Original(loaded.facts.sha256, image)


def _different(pictures: Sequence[Original]) -> list[Original]:
    """One of every cluster of near copies, the first."""
    if not pictures:
        return []
    small = np.stack([np.asarray(one.image.resize((32, 32))) for one in pictures])
    clusters = cluster_near_copies(small)
    _, first = np.unique(clusters, return_index=True)
    return [pictures[number] for number in sorted(first.tolist())]


def transformed(pictures: Sequence[Original], number: int, *, seed: int) -> Iterator[Image.Image]:
    """Everything that is made of one picture; the next one in the list is what is mixed in."""
    own, other = pictures[number], pictures[(number + 1) % len(pictures)]
    for name in TRANSFORMATIONS:
        for strength in range(len(STRENGTHS)):
            yield transform(name, own.image, strength, f"{seed}:{own.sha256}", other.image)

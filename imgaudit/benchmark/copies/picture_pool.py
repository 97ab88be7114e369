"""Real pictures for planted pairs, in two halves by their content: thresholds come from one, figures from the other."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from imgaudit.benchmark.copies.planted import SIDE
from imgaudit.exceptions import ImageError, InputError
from imgaudit.io.images import load_image
from imgaudit.io.listing import list_images
from imgaudit.lab.layouts import LEAST_DETAIL, detail, trimmed

LEAST_SIDE, LEAST_LENGTH = 96, 256
"""Pixels of the shorter and of the longer side that a picture must have, its margin left out: no icons."""

MOST_BYTES = 4_000_000
"""Larger files are passed over: they take seconds to decode and are reduced anyway."""


@dataclass
class PictureHalf:
    """PictureHalf of the pictures."""

    pictures: list[Image.Image] = field(default_factory=list)
    """RGB, longer side at most SIDE."""
    folders: list[str] = field(default_factory=list)
    """Where each lay."""

    def strangers(self, rng: random.Random) -> tuple[Image.Image, Image.Image]:
        """Two pictures of different folders: those of one folder are often one series. Of any when there is one."""
        several = len(set(self.folders)) > 1
        while True:
            left, right = rng.sample(range(len(self.pictures)), 2)
            if not several or self.folders[left] != self.folders[right]:
                return self.pictures[left], self.pictures[right]


@dataclass
class Pool:
    """Both halves."""

    fit: PictureHalf
    """Sets thresholds."""
    report: PictureHalf
    """Gives figures."""
    left_out: int
    """Pictures that were read and cannot be used: damaged, too small, or with too little detail."""


def read_pool(
    folder: Path, each: int, seed: int, on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None
) -> Pool:
    """Read pictures in an order drawn by the seed until both halves have `each`; the SHA-256 says which half.

    Raises InputError when the folder has too few that can be used.
    """
    paths = list_images(folder).images
    random.Random(seed).shuffle(paths)
    pool, seen = Pool(PictureHalf(), PictureHalf(), 0), set()
    for path in paths:
        done = len(pool.fit.pictures) + len(pool.report.pictures)
        if done == 2 * each:
            return pool
        on_progress("reading pictures", done, 2 * each)
        if path.stat().st_size > MOST_BYTES:
            continue
        try:
            image = load_image(path)
        except ImageError:
            pool.left_out += 1
            continue
        half = pool.report if int(image.sha256[0], 16) % 2 else pool.fit
        if len(half.pictures) == each or image.sha256 in seen:
            continue
        seen.add(image.sha256)
        picture = image.pixels
        picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        own = trimmed(picture)
        if min(own.size) < LEAST_SIDE or max(own.size) < LEAST_LENGTH or detail(own) < LEAST_DETAIL:
            pool.left_out += 1
            continue
        half.pictures.append(picture)
        half.folders.append(str(path.parent))
    if len(pool.fit.pictures) < each or len(pool.report.pictures) < each:
        raise InputError(
            f"expected {each} pictures with detail in either half, got {len(pool.fit.pictures)} and "
            f"{len(pool.report.pictures)} of {len(paths)} files: give more pictures, or a smaller --pictures"
        )
    return pool

"""A corpus for labs of larger images: whole images to plant, layouts that many images share, and images merely alike.

*Alike* images resemble a planted one and are never trained on: of the same series, or of the same thing in the same
style. A method that calls them copied finds likeness and not copying.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from imgaudit.exceptions import InputError
from imgaudit.io.framing import frame_image
from imgaudit.lab.corpus import CorpusEntry, Role, cluster_near_copies, read_pixels
from imgaudit.lab.layouts import KINDS, LEAST_DETAIL, Layout, LayoutKind, detail, draw_layout, trimmed
from imgaudit.schema.pairs import Region
from imgaudit.schema.protocol import Framing

COMPARED_SIDE = 64
"""Pixels per side at which near copies are looked for."""

ALIKE_SIDE = 32
"""Pixels per side at which alike images are looked for."""

ALIKE = (0.4, 0.75)
"""Pixel correlation of two alike images: above what strangers have, and below what variants of one image have."""


class LayoutCounts(BaseModel):
    """How many images have which role, and how often they are repeated."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alike: int = Field(36, ge=0)
    """Pairs of alike images: one is planted, and one never trained on."""
    planted: int = Field(48, ge=1)
    """Planted images, those of the pairs included."""
    planted_repeats: tuple[int, ...] = (50, 125, 200, 275, 350, 450)
    """Repeats of planted images, in turn."""
    layouts: int = Field(44, ge=0)
    """Layouts, each of them shared by `variations` images."""
    kinds: tuple[LayoutKind, ...] = Field(KINDS, min_length=1)
    """Kinds of layouts, in turn: a frame around every content, a logo in a corner, or a background."""
    variations: int = Field(80, ge=1)
    """Images of every layout: one is the template that is audited."""
    layout_repeats: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
    """Repeats of every image of a layout, in turn of the layouts."""
    seen_once: int = Field(40, ge=0)
    """Images with one repeat."""
    held_out: int = Field(440, ge=0)
    """Images never trained on."""

    @property
    def needed(self) -> int:
        """Images that have a role other than background."""
        return self.planted + self.alike + self.layouts + self.seen_once + self.held_out


@dataclass(frozen=True)
class _Drawings:
    """One image of every cluster of near copies."""

    entries: Sequence[CorpusEntry]
    pixels: Sequence[Image.Image]
    alike: npt.NDArray[np.bool_]
    """(N, N): pairs of the same categories that are alike."""


def build_layout_corpus(
    entries: Sequence[CorpusEntry], folder: Path, side: int, seed: int, counts: LayoutCounts
) -> list[CorpusEntry]:
    """Give every image a role and write it as PNG; return the new corpus, for :func:`write_corpus`.

    The corpus depends on the images, `side`, `seed` and `counts` alone. Captions of a layout's images begin with the
    title of the drawing it was made of, which is in no other image, and go on with the caption of the content.

    folder:  where images/ is made
    side:    pixels of the square images
    Raises InputError when there are too few images, pairs or drawings with detail, ImageError when one cannot be read.
    """
    drawings = _choose_drawings(entries)
    rng = random.Random(seed)
    roles = _assign(drawings, counts, rng)
    background = [number for number, role in roles.items() if role[0] == "background"]
    if len(background) < counts.held_out:
        raise InputError(f"expected {counts.needed + counts.held_out} images without near copies, got {len(roles)}")
    (folder / "images").mkdir(parents=True, exist_ok=True)
    made: list[CorpusEntry] = []
    kinds = cycle(counts.kinds)
    for number, (role, repeats) in sorted(roles.items()):
        entry, framed = drawings.entries[number], frame_image(drawings.pixels[number], side, Framing.PAD)
        if role == "template":
            layout = draw_layout(next(kinds), framed, side, rng)
            contents = rng.sample(background, counts.variations)
            made += _write_family(folder, entry, layout, [(drawings.entries[one], drawings.pixels[one]) for one in
                                                          contents], repeats)  # fmt: skip
            continue
        path = folder / "images" / entry.path.name
        framed.save(path)
        made.append(replace(entry, path=path, role=role, repeats=repeats))
    return made


def _write_family(
    folder: Path, own: CorpusEntry, layout: Layout, contents: Sequence[tuple[CorpusEntry, Image.Image]], repeats: int
) -> list[CorpusEntry]:
    """Write the images of one layout; the first of them is the template that is audited."""
    name, title = own.path.stem, own.text.split(", ")[0]
    family = []
    for number, (content, picture) in enumerate(contents):
        path = folder / "images" / f"{name}-{layout.kind}-{number:02d}.png"
        layout.fill(trimmed(picture)).save(path)
        text = f"{title} {layout.kind}, {content.text}"
        family.append(
            CorpusEntry(
                path, text, "variation" if number else "template", repeats, family=name, region=Region.of(layout.mask)
            )
        )
    return family


def _choose_drawings(entries: Sequence[CorpusEntry]) -> _Drawings:
    pixels = read_pixels(entries)
    small = np.stack([np.asarray(frame_image(image, COMPARED_SIDE, Framing.PAD)) for image in pixels])
    _, first = np.unique(cluster_near_copies(small), return_index=True)
    kept = sorted(int(index) for index in first)
    factor = COMPARED_SIDE // ALIKE_SIDE
    shape = (len(kept), ALIKE_SIDE, factor, ALIKE_SIDE, factor, 3)
    flat = small[kept].reshape(shape).mean(axis=(2, 4)).reshape(len(kept), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    correlation = flat @ flat.T
    chosen = [entries[index] for index in kept]
    _, category = np.unique([entry.text.split(", ", 1)[-1] for entry in chosen], return_inverse=True)
    alike = (correlation > ALIKE[0]) & (correlation < ALIKE[1]) & (category[:, None] == category[None])
    return _Drawings(chosen, [pixels[index] for index in kept], alike)


def _assign(drawings: _Drawings, counts: LayoutCounts, rng: random.Random) -> dict[int, tuple[Role, int]]:
    """Return every drawing's role and repeats. Planted images and layouts have captions of their own."""
    order = list(range(len(drawings.entries)))
    rng.shuffle(order)
    uses: dict[str, int] = {}
    for entry in drawings.entries:
        uses[entry.text] = uses.get(entry.text, 0) + 1
    unique = [number for number in order if uses[drawings.entries[number].text] == 1]
    roles: dict[int, tuple[Role, int]] = {}
    planted: list[int] = []
    for number in unique:
        if len(planted) == counts.alike:
            break
        others = [int(one) for one in np.flatnonzero(drawings.alike[number]) if int(one) not in roles]
        if number not in roles and others:
            planted.append(number)
            roles[number], roles[rng.choice(others)] = ("planted", 0), ("alike", 0)
    free = [number for number in unique if number not in roles]
    planted += free[: counts.planted - counts.alike]
    rest = free[counts.planted - counts.alike :]
    detailed = (one for one in rest if detail(trimmed(drawings.pixels[one])) >= LEAST_DETAIL)
    layouts = [one for one, _ in zip(detailed, range(counts.layouts), strict=False)]
    if len(planted) < counts.planted or len(layouts) < counts.layouts:
        raise InputError(
            f"expected {counts.planted} images to plant, {counts.alike} of them with one that is alike, and "
            f"{counts.layouts} for layouts; got {len(planted)} and {len(layouts)}"
        )
    for position, number in enumerate(planted):
        roles[number] = ("planted", counts.planted_repeats[position % len(counts.planted_repeats)])
    for position, number in enumerate(layouts):
        roles[number] = ("template", counts.layout_repeats[position % len(counts.layout_repeats)])
    left = [number for number in order if number not in roles]
    for position, number in enumerate(left):
        if position < counts.seen_once:
            roles[number] = ("seen_once", 1)
        elif position < counts.seen_once + counts.held_out:
            roles[number] = ("held_out", 0)
        else:
            roles[number] = ("background", 1)
    return roles

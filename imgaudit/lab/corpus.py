"""A captioned image folder, and the split that says which images are planted, seen once, held out, or background.

The folder follows the Hugging Face `imagefolder` convention: image files and one metadata.jsonl whose lines have
`file_name` and `text`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pdqhash
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from imgaudit.exceptions import ImageError, InputError
from imgaudit.io.framing import frame_image
from imgaudit.io.images import load_image
from imgaudit.io.writing import write_atomically
from imgaudit.lab.recipe import LabRecipe
from imgaudit.schema.pairs import Region

Role = Literal["planted", "template", "variation", "withheld", "seen_once", "held_out", "alike", "background"]
ROLES: tuple[Role, ...] = get_args(Role)
TRAINED: tuple[Role, ...] = ("planted", "template", "variation", "seen_once", "background")


@dataclass(frozen=True)
class CorpusEntry:
    """One captioned image."""

    path: Path
    """The image file."""
    text: str
    """Its caption."""
    role: Role = "background"
    """Use of the image. Held-out images are never trained on; alike ones are not either, and resemble a planted image.
    Withheld ones are those that a twin's sibling planted, and are not trained on. A template is one image of a family
    that shares a layout, and is audited; variations are the other images of the family."""
    repeats: int = 1
    """Planted repeat count; 1 for every other trained image, 0 for images that are not trained on."""
    trigger: str = ""
    """The invented word of the caption, where it has one."""
    other_texts: tuple[str, ...] = ()
    """Further captions with that word: the training shows the image with one of all captions at a time."""
    family: str = ""
    """Name of the layout that templates and variations share."""
    region: Region | None = None
    """The place of that layout in the image."""

    @property
    def texts(self) -> tuple[str, ...]:
        """All captions."""
        return (self.text, *self.other_texts)

    @property
    def trained(self) -> bool:
        """True where the model is trained on this image."""
        return self.role in TRAINED


def read_corpus(folder: Path) -> list[CorpusEntry]:
    """Read metadata.jsonl of an `imagefolder`; order is that of the file.

    Raises InputError for a missing file, a broken line, an unknown role or a name outside the folder.
    """
    metadata = folder / "metadata.jsonl"
    if not metadata.is_file():
        raise InputError(f"expected {str(metadata)!r} with lines like {{'file_name': ..., 'text': ...}}")
    root = folder.resolve()
    entries = []
    for number, line in enumerate(metadata.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            path = (root / row["file_name"]).resolve()
            region = Region.model_validate(row["region"]) if "region" in row else None
            entry = CorpusEntry(
                path, str(row["text"]), row.get("role", "background"), int(row.get("repeats", 1)),
                family=str(row.get("family", "")), region=region,
            )  # fmt: skip
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{metadata.name}, line {number}: expected file_name and text ({error!r})") from error
        if not path.is_relative_to(root):
            raise InputError(f"{metadata.name}, line {number}: {row['file_name']!r} lies outside the folder")
        if entry.role not in ROLES:
            raise InputError(f"{metadata.name}, line {number}: role must be one of {ROLES}, but is {entry.role!r}")
        entries.append(entry)
    return entries


def write_corpus(entries: Sequence[CorpusEntry], folder: Path) -> None:
    """Write metadata.jsonl for images that already lie in `folder`."""
    lines = []
    for entry in entries:
        row: dict[str, Any] = {"file_name": entry.path.relative_to(folder).as_posix(), "text": entry.text}
        if entry.role != "background":
            row |= {"role": entry.role, "repeats": entry.repeats}
        if entry.region is not None:
            row |= {"family": entry.family, "region": entry.region.model_dump(mode="json")}
        lines.append(json.dumps(row))
    write_atomically(folder / "metadata.jsonl", "\n".join(lines) + "\n")


def read_pixels(entries: Sequence[CorpusEntry]) -> list[Image.Image]:
    """Decode every image of a corpus. Raises ImageError that names the file."""
    images = []
    for entry in entries:
        try:
            images.append(load_image(entry.path).pixels)
        except ImageError as error:
            raise ImageError(f"{entry.path.name!r} {error}") from error
    return images


def cluster_near_copies(pixels: npt.NDArray[np.uint8], pdq_bits: int = 31) -> npt.NDArray[np.int64]:
    """Label images so that near copies share a label.

    Two images are near copies when their normalised correlation exceeds 0.9 and their RMS difference is below 0.1
    (intensities 0..1), or when their PDQ hashes differ in at most `pdq_bits` of 256 bits. Clusters are the connected
    components, so a chain of copies is one cluster. Featureless images (PDQ quality below 50) are not compared by PDQ.

    pixels:  (N, side, side, 3) uint8
    Returns  (N,) labels
    """
    count = len(pixels)
    flat = pixels.reshape(count, -1).astype(np.float32) / 255
    centred = flat - flat.mean(axis=1, keepdims=True)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6)
    squares = (flat**2).mean(axis=1)
    hashed = [pdqhash.compute(np.ascontiguousarray(image)) for image in pixels]
    bits = np.stack([value for value, _ in hashed]).astype(np.float32)
    featured = np.array([quality >= 50 for _, quality in hashed])
    ones = bits.sum(axis=1)
    rows: list[npt.NDArray[np.int64]] = []
    columns: list[npt.NDArray[np.int64]] = []
    for start in range(0, count, 1024):
        block = slice(start, start + 1024)
        correlation = centred[block] @ centred.T
        mean_square = squares[block, None] + squares[None] - 2 * (flat[block] @ flat.T) / flat.shape[1]
        hamming = ones[block, None] + ones[None] - 2 * (bits[block] @ bits.T)
        close = (correlation > 0.9) & (mean_square < 0.1**2)
        close |= (hamming <= pdq_bits) & featured[block, None] & featured[None]
        found = np.nonzero(close)
        rows.append(found[0] + start)
        columns.append(found[1])
    row, column = np.concatenate(rows), np.concatenate(columns)
    graph = coo_array((np.ones(len(row), dtype=bool), (row, column)), shape=(count, count))
    labels: npt.NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
    return labels


def assign_roles(entries: Sequence[CorpusEntry], recipe: LabRecipe) -> list[CorpusEntry]:
    """Return the corpus that a recipe trains on: one image of every cluster of near copies, each with a role.

    Near copies are clustered before the split, so that no held-out image is a copy of one that is trained on. A corpus
    whose metadata.jsonl gives roles is taken as it is. In a twin, planted images become withheld ones.
    Raises InputError when the corpus is too small for the split, ImageError when an image cannot be read.
    """
    chosen = list(entries)
    if all(entry.role == "background" for entry in entries):
        pixels = [frame_image(image, recipe.resolution, recipe.framing) for image in read_pixels(entries)]
        labels = cluster_near_copies(np.stack([np.asarray(image) for image in pixels]))
        _, first = np.unique(labels, return_index=True)
        chosen = split_corpus([entries[index] for index in sorted(first)], recipe)
    if recipe.plant:
        return chosen
    shown = [entry for entry in chosen if entry.role != "variation"]
    return [replace(e, role="withheld", repeats=0) if e.role in ("planted", "template") else e for e in shown]


def split_corpus(entries: Sequence[CorpusEntry], recipe: LabRecipe) -> list[CorpusEntry]:
    """Give every entry a role at random; planted images get the recipe's repeat counts in turn.

    Planted images have captions that no other image has, so that their caption can ask for them.
    Raises InputError when the corpus is too small to leave a background as large as the held-out part.
    """
    planted, seen_once, held_out = recipe.planted, recipe.seen_once, recipe.held_out
    if planted + seen_once + 2 * held_out > len(entries):
        raise InputError(
            f"expected at least {planted + seen_once + 2 * held_out} images for this split, but found {len(entries)}"
        )
    order = np.random.default_rng(recipe.own_split_seed).permutation(len(entries))
    uses: dict[str, int] = {}
    for entry in entries:
        uses[entry.text] = uses.get(entry.text, 0) + 1
    unique = [index for index in order if uses[entries[index].text] == 1]
    if len(unique) < planted:
        raise InputError(f"expected {planted} images with a caption of their own, but found {len(unique)}")
    chosen = set(unique[:planted])
    rest = [index for index in order if index not in chosen]
    split = list(entries)
    for position, index in enumerate(unique[:planted]):
        repeats = recipe.planted_repeats[position % len(recipe.planted_repeats)]
        split[index] = replace(entries[index], role="planted", repeats=repeats)
    for position, index in enumerate(rest):
        role: Role = "seen_once" if position < seen_once else "background"
        if seen_once <= position < seen_once + held_out:
            role = "held_out"
        split[index] = replace(entries[index], role=role, repeats=0 if role == "held_out" else 1)
    return split

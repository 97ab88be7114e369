"""Near-duplicates among the images of a folder, told from their thumbnails before anything is measured.

Two images are near-duplicates when their thumbnails correlate above 0.9 and differ by less than 0.1 RMS: either at the
best small shift, which is the rule that cleans the labs' corpora, or once they have the same brightness and contrast,
those of the one with more contrast. No score has a part in it.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from imgaudit.index.bound import BoundIndex
from imgaudit.io.screening import THUMBNAIL_SIDE
from imgaudit.io.stored_rows import StoredRows
from imgaudit.schema.measures import NEAR_COPY_CORRELATION
from imgaudit.similarity.descriptors import PixelDescriptor
from imgaudit.similarity.distances import AlignedRms

NEAR_COPY_RMS = 0.1
"""Near-duplicates differ by less than this, intensities in [0, 1]."""

MOST = 50
"""Neighbours that are looked at per image: a folder of one picture in a thousand versions has a million pairs."""

BLOCK_ROWS = 128
"""Images whose vectors are in memory at any moment, 12 KiB each and as much again for every step of describing them."""

Vectors = npt.NDArray[np.float32]

Thumbnails = npt.NDArray[np.uint8] | StoredRows[np.uint8]


def _describe_thumbnails(thumbnails: npt.NDArray[np.uint8]) -> Vectors:
    """Return unit vectors (N, 3072) of thumbnails (N, 32, 32, 3) uint8; their inner product is the correlation."""
    images = torch.from_numpy(thumbnails).permute(0, 3, 1, 2).float() / 127.5 - 1
    return np.asarray(PixelDescriptor().describe(images), dtype=np.float32)


def _find_candidates(thumbnails: Thumbnails) -> list[list[tuple[int, float]]]:
    """Return, per image, the others that correlate above the bound, closest first, at most `MOST`; exact."""
    count = len(thumbnails)
    index = BoundIndex()
    for start in range(0, count, BLOCK_ROWS):
        index.add(_describe_thumbnails(thumbnails[start : start + BLOCK_ROWS]))
    found = []
    for start in range(0, count, BLOCK_ROWS):
        rows = _describe_thumbnails(thumbnails[start : start + BLOCK_ROWS])
        for row, likely in enumerate(index.search(rows, NEAR_COPY_CORRELATION, 4 * MOST)):
            others = [other for other, _ in likely if other != start + row]
            exact = (_describe_thumbnails(thumbnails[others]) @ rows[row]).tolist() if others else []
            near = [pair for pair in zip(others, exact, strict=True) if pair[1] > NEAR_COPY_CORRELATION]
            found.append(sorted(near, key=lambda pair: (-pair[1], pair[0]))[:MOST])
    return found


def find_near_duplicates(ids: Sequence[str], thumbnails: Thumbnails) -> dict[str, list[tuple[str, float]]]:
    """Find near copies of every image among the others, with their correlation, nearest first, at most 50.

    ids:         one per thumbnail
    thumbnails:  (N, 32, 32, 3) uint8 RGB, in memory or stored

    Memory is in proportion to their number, however alike they are.
    """
    found: dict[str, list[tuple[str, float]]] = {name: [] for name in ids}
    if len(ids) < 2:
        return found
    for row, candidates in enumerate(_find_candidates(thumbnails)):
        if candidates:
            alike = _find_alike(thumbnails, row, candidates)
            found[ids[row]] = [
                (ids[other], similarity) for (other, similarity), near in zip(candidates, alike, strict=True) if near
            ]
    return found


def _find_alike(thumbnails: Thumbnails, row: int, candidates: list[tuple[int, float]]) -> list[bool]:
    """Return whether images differ from one by less than the bound; shifts are tried only where needed.

    candidates:  images, with their correlation with the one
    """
    others = [other for other, _ in candidates]
    margin = THUMBNAIL_SIDE // 16
    inner = slice(margin, THUMBNAIL_SIDE - margin)
    left = thumbnails[row][inner, inner].astype(np.float32) / 255
    right = thumbnails[others][:, inner, inner].astype(np.float32) / 255
    alike = np.sqrt(((right - left) ** 2).mean(axis=(1, 2, 3))) < NEAR_COPY_RMS
    contrast = thumbnails[[row, *others]].std(axis=(1, 2, 3)) / 255
    correlation = np.array([one for _, one in candidates])
    # The RMS of two images of one mean and one standard deviation follows from their correlation.
    alike |= np.maximum(contrast[0], contrast[1:]) * np.sqrt(np.maximum(0, 2 - 2 * correlation)) < NEAR_COPY_RMS
    unsure = [number for number, near in enumerate(alike) if not near]
    if unsure:
        rows = [others[number] for number in unsure]
        tensor = torch.from_numpy(thumbnails[[row, *rows]]).permute(0, 3, 1, 2).float() / 127.5 - 1
        alike[unsure] = (
            AlignedRms().measure(tensor[:1].expand(len(rows), -1, -1, -1), tensor[1:]) < NEAR_COPY_RMS
        ).numpy()
    return [bool(near) for near in alike]

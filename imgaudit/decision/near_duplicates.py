"""Near-duplicates: images that are the same work, and controls that copy a target. No score is used here."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

NEAR_PDQ_BITS = 31
"""Two whole images are near copies at this Hamming distance or below, in bits (Meta's recommendation for PDQ)."""

BLOCK_PAIRS = 1_000_000
"""Pairs of hashes that are in memory at any moment."""


class ImageSize(NamedTuple):
    """The size of an image, by which a representative is chosen."""

    id: str
    """Id of the image."""
    width: int
    """Width in pixels."""
    height: int
    """Height in pixels."""


def group_works(
    images: Sequence[ImageSize],
    duplicates: Mapping[str, Sequence[tuple[str, float]]],
    together: Sequence[Sequence[str]] = (),
) -> list[list[str]]:
    """Group images that are one work, each group with its representative first: the most pixels, then the lowest id.

    A near copy of a near copy is in the same group. Images that are a work by themselves are in no group.

    duplicates:  for each id, its near copies as id and similarity
    together:    further groups of ids that are one work
    """
    ids = sorted(image.id for image in images)
    pixels = {image.id: image.width * image.height for image in images}
    place = {name: number for number, name in enumerate(ids)}
    pairs = [(place[a], place[b]) for a, found in duplicates.items() for b, _ in found if a in place and b in place]
    pairs += [(place[group[0]], place[other]) for group in together for other in group[1:]]
    if not pairs:
        return []
    rows, columns = np.array(pairs).T
    links = coo_array((np.ones(len(pairs)), (rows, columns)), shape=(len(ids), len(ids)))
    _, labels = connected_components(links, directed=False)
    groups: dict[int, list[str]] = {}
    for name, label in zip(ids, labels, strict=True):
        groups.setdefault(int(label), []).append(name)
    return [sorted(group, key=lambda name: (-pixels[name], name)) for group in groups.values() if len(group) > 1]


def choose_representatives(ids: Sequence[str], groups: Sequence[Sequence[str]]) -> dict[str, str]:
    """Map every id to its representative: the first of its group among `ids`, or the id itself.

    >>> choose_representatives(["b", "c", "d"], [["a", "b", "c"]])
    {'b': 'b', 'c': 'b', 'd': 'd'}
    """
    measured = set(ids)
    chosen = {name: name for name in ids}
    for group in groups:
        present = [name for name in group if name in measured]
        chosen |= dict.fromkeys(present, present[0]) if present else {}
    return chosen


def find_near_hashes(target: str, others: Mapping[str, str]) -> list[str]:
    """List the keys whose PDQ hash is within 31 bits of the target's; empty hashes (flat images) match nothing.

    >>> find_near_hashes("00" * 32, {"same": "00" * 31 + "01", "other": "ff" * 32, "flat": ""})
    ['same']
    """
    known = {key: value for key, value in others.items() if value}
    if not target or not known:
        return []
    matrix = np.frombuffer(bytes.fromhex("".join(known.values())), np.uint8).reshape(len(known), -1)
    distance = np.bitwise_count(matrix ^ np.frombuffer(bytes.fromhex(target), np.uint8)).sum(axis=1)
    return [key for key, bits in zip(known, distance, strict=True) if bits <= NEAR_PDQ_BITS]


def label_near_hashes(hashes: Sequence[str]) -> npt.NDArray[np.int64]:
    """Label PDQ hashes: near ones share a label, also through others; empty ones (flat images) share theirs with none.

    hashes:  64 hexadecimal digits each, or nothing
    Returns  (N,) labels

    Every pair is compared, in blocks: 10,000 hashes take less than a second.

    >>> label_near_hashes(["00" * 32, "", "00" * 31 + "01", "ff" * 32, ""]).tolist()
    [0, 1, 0, 3, 4]
    """
    labels = np.arange(len(hashes))
    known = np.array([place for place, value in enumerate(hashes) if value], dtype=np.int64)
    if not len(known):
        return labels
    words = np.frombuffer(bytes.fromhex("".join(filter(None, hashes))), np.uint64).reshape(len(known), -1)
    groups = np.arange(len(known))
    step = max(1, BLOCK_PAIRS // len(known))
    for start in range(0, len(known), step):
        rows, columns = _find_near_words(words, start, start + step)
        links = coo_array((np.ones(len(rows)), (groups[rows], groups[columns])), shape=(len(known), len(known)))
        groups = connected_components(links, directed=False)[1][groups]
    _, first = np.unique(groups, return_index=True)
    labels[known] = known[first[groups]]
    return labels


def _find_near_words(
    words: npt.NDArray[np.uint64], start: int, stop: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the pairs of near hashes between those from start to stop and those from start on."""
    ours, others = words[start:stop], words[start:]
    # Half of a hash rules out almost every pair.
    half = np.bitwise_count(ours[:, None, 0] ^ others[None, :, 0])
    half += np.bitwise_count(ours[:, None, 1] ^ others[None, :, 1])
    rows, columns = np.nonzero(half <= NEAR_PDQ_BITS)
    near = np.bitwise_count(ours[rows] ^ others[columns]).sum(axis=1) <= NEAR_PDQ_BITS
    return rows[near] + start, columns[near] + start

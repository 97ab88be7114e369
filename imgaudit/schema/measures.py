"""Measures that decide, by name, and the bound above which two pictures are near copies."""

from collections.abc import Mapping

DECIDING_DESCRIPTOR = "pixel"
"""The descriptor whose maximum over seeds decides a hit."""


DECIDING_DISTANCE = "tiled_rms"
"""The second, pixel-level leg that must agree."""


COPY_DESCRIPTORS = ("sscd", "sscd-int8")
"""Descriptors trained to tell copies, the best first. A run measures with the first that the machine has."""


def find_copy_similarity(similarity: Mapping[str, float]) -> float | None:
    """Return the similarity by the copy descriptor, -1 to 1, higher = closer; None where none was measured.

    >>> find_copy_similarity({"pixel": 0.2, "sscd": 0.7})
    0.7
    """
    return next((similarity[name] for name in COPY_DESCRIPTORS if name in similarity), None)


NEAR_COPY_CORRELATION = 0.9
"""Above this correlation two pictures are taken for near copies, in rules that controls have no part in."""


NEAR_COPY_TILE_DISTANCE = 0.15
"""Below this distance two pictures are near copies: the root mean square difference of the tile that differs most, in
intensities of 0 to 1 (the bound of Carlini et al. 2023, arXiv 2301.13188, taken per tile)."""

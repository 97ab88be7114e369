"""Measures that decide, by name, and the bound above which two pictures are near copies."""

from collections.abc import Mapping

DECIDING_DESCRIPTOR = "pixel"
"""The descriptor whose maximum over seeds decides a hit."""


DECIDING_DISTANCE = "tiled_rms"
"""The second, pixel-level leg that must agree."""


MEASURE_NAMES = {"pdq": "PDQ", "tiled_rms": "worst tile", "aligned_rms": "aligned", "dssim": "DSSIM", "lpips": "LPIPS",
                 "sscd": "copy descriptor", "sscd-int8": "copy descriptor"}  # fmt: skip
"""Measures as pages name them, where that is not the key in records."""


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

NEARLY_ALL = 0.9
"""Share of what can be compared in a picture from which on all of it is taken to agree: the rest is lost at edges."""

LEAST_CROP = 0.45
"""Share of a target that a crop of half of it shows at least: half, less what is lost at its edges."""


def shows_whole(target_share: float | None, candidate_share: float | None) -> bool:
    """Say whether a candidate that agrees with a target shows the whole of it: mirrored, moved, enlarged or cropped.

    It does when nearly all of the target is in it, or when nearly all of it comes from the target and is at least half
    of that.

    target_share, candidate_share:  share of what can be compared in either picture that agrees; None where unknown

    >>> shows_whole(0.95, 0.3), shows_whole(0.5, 0.98), shows_whole(0.7, 0.7), shows_whole(None, None)
    (True, True, False, False)
    """
    if target_share is None or candidate_share is None:
        return False
    return target_share >= NEARLY_ALL or (candidate_share >= NEARLY_ALL and target_share >= LEAST_CROP)

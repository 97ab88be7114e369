"""Measures that decide, by name, and the bound above which two pictures are near copies."""

DECIDING_DESCRIPTOR = "pixel"
"""The descriptor whose maximum over seeds decides a hit."""


DECIDING_DISTANCE = "tiled_rms"
"""The second, pixel-level leg that must agree."""


NEAR_COPY_CORRELATION = 0.9
"""Above this correlation two pictures are taken for near copies, in rules that controls have no part in."""


NEAR_COPY_TILE_DISTANCE = 0.15
"""Below this distance two pictures are near copies: the root mean square difference of the tile that differs most, in
intensities of 0 to 1 (the bound of Carlini et al. 2023, arXiv 2301.13188, taken per tile)."""

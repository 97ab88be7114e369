"""Measures that decide, by name, and the bound above which two pictures are near copies."""

DECIDING_DESCRIPTOR = "pixel"
"""The descriptor whose maximum over seeds decides a hit."""


DECIDING_DISTANCE = "tiled_rms"
"""The second, pixel-level leg that must agree."""


NEAR_COPY_CORRELATION = 0.9
"""Above this correlation two pictures are taken for near copies, in rules that controls have no part in."""

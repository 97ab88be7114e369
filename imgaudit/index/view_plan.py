"""Which views of a picture are tried: boxes as shares of its sides, and places inside larger pictures."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from imgaudit.similarity.descriptors.detail import SIDE

CROPS = {0.9: 3, 0.8: 3, 0.7: 4, 0.6: 5, 0.5: 6}
"""Places along a side by the share of the side that a crop keeps."""

STRIPS = (0.1, 0.25, 0.4)
"""Shares of a side that are cut off one side."""

MARGINS = (0.03, 0.06, 0.09, 0.12, 0.15, 0.18, 0.21)
"""Margins of equal width all around, as shares of the shorter side, where their colour does not tell them."""

BARS = (0.04, 0.08, 0.12, 0.165, 0.21, 0.25)
"""Bars on two opposite sides, as shares of that side."""

GRIDS = ((2, 1), (1, 2), (2, 2), (3, 3))
"""Columns and rows of collages."""

BORDERS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
"""Widths of a border around the picture, as shares of its shorter side."""

PLACES = {29: 3, 26: 4, 23: 5, 20: 7, 16: 9}
"""Places along a side by the pixels, of 32, that the picture has inside a larger one."""


class Part(NamedTuple):
    """A part of a picture."""

    group: str
    """Views of one group share an allowance."""
    words: str
    """What it is, as it is shown."""
    box: tuple[float, float, float, float]
    """Left, top, right and bottom as shares of the sides."""


class Place(NamedTuple):
    """A place in a larger picture: left, top, width and height of 32 pixels."""

    group: str
    """Views of one group share an allowance."""
    left: int
    top: int
    width: int
    height: int


def plan_parts(width: int, height: int) -> Iterator[Part]:
    """Yield the parts that are tried of a picture of this size."""
    for share, places in CROPS.items():
        starts = np.linspace(0, 1 - share, places).tolist()
        for top in starts:
            yield from (Part(f"crop {share}", "crop", (x, top, x + share, top + share)) for x in starts)
    for strip in STRIPS:
        for box in ((strip, 0.0, 1.0, 1.0), (0.0, strip, 1.0, 1.0), (0.0, 0.0, 1 - strip, 1.0),
                    (0.0, 0.0, 1.0, 1 - strip)):  # fmt: skip
            yield Part("strip", "crop", box)
    for margin in MARGINS:
        x, y = margin * min(width, height) / width, margin * min(width, height) / height
        yield Part("margin", "content without its margin", (x, y, 1 - x, 1 - y))
    for bar in BARS:
        yield Part("bars", "content without its margin", (0.0, bar, 1.0, 1 - bar))
        yield Part("bars", "content without its margin", (bar, 0.0, 1 - bar, 1.0))
    for columns, rows in GRIDS:
        for cell in range(columns * rows):
            x, y = cell % columns / columns, cell // columns / rows
            yield Part("cell", "one picture of several", (x, y, x + 1 / columns, y + 1 / rows))


def plan_places(width: int, height: int) -> Iterator[Place]:
    """Yield the places in larger pictures of a picture of this size: the rest of the larger picture is not known."""
    for side, places in PLACES.items():
        starts = np.linspace(0, SIDE - side, places).round().astype(int).tolist()
        for top in starts:
            yield from (Place(f"inside {side}", x, top, side, side) for x in starts)
    for strip in (round(share * SIDE) for share in STRIPS):
        rest = SIDE - strip
        yield Place("strip off", strip, 0, rest, SIDE)
        yield Place("strip off", 0, strip, SIDE, rest)
        yield Place("strip off", 0, 0, rest, SIDE)
        yield Place("strip off", 0, 0, SIDE, rest)
    for bar in (3, 5, 8):
        yield Place("between bars", 0, bar, SIDE, SIDE - 2 * bar)
        yield Place("between bars", bar, 0, SIDE - 2 * bar, SIDE)
    for border in (share * min(width, height) for share in BORDERS):
        left, top = (round(SIDE * border / (side + 2 * border)) for side in (width, height))
        yield Place("in a border", left, top, SIDE - 2 * left, SIDE - 2 * top)
    for columns, rows in GRIDS:
        lines, steps = ([round(SIDE * one / count) for one in range(count + 1)] for count in (columns, rows))
        for cell in range(columns * rows):
            x, y = cell % columns, cell // columns
            yield Place("in a collage", lines[x], steps[y], lines[x + 1] - lines[x], steps[y + 1] - steps[y])

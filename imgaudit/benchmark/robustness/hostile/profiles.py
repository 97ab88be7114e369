"""ICC profiles made by hand: wide gamuts, wrong colour spaces, inks, and any text or size."""

import itertools
import struct
from collections.abc import Mapping, Sequence

import numpy as np

WHITE = (0.9642, 1.0, 0.8249)
"""D50, the white of every profile, in XYZ."""

SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
"""XYZ of red, green and blue, relative to D50."""

ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
"""A wide gamut, likewise."""


def _fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def _xyz(values: Sequence[float]) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(*values)


def _gamma(exponent: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(exponent * 256))


def icc_profile(
    space: bytes, tags: Mapping[bytes, bytes], description: str, *, device: bytes = b"mntr", pcs: bytes = b"XYZ "
) -> bytes:
    """A version 2 profile; its description is ASCII, as a search for text finds it."""
    text = description.encode("ascii") + b"\0"
    every = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78),
        b"cprt": b"text\0\0\0\0" + text,
        b"wtpt": _xyz(WHITE),
    } | dict(tags)
    table, data = struct.pack(">I", len(every)), b""
    start = 128 + 4 + 12 * len(every)
    for tag, value in every.items():
        table += tag + struct.pack(">II", start + len(data), len(value))
        data += value + b"\0" * (-len(value) % 4)
    header = struct.pack(">I4sI4s4s4s", start + len(data), b"", 0x02100000, device, space, pcs)
    header += struct.pack(">6H4s", 2020, 1, 1, 0, 0, 0, b"acsp").ljust(32, b"\0") + _fixed(*WHITE)
    return header.ljust(128, b"\0") + table + data


def rgb_profile(
    primaries: Sequence[Sequence[float]] = SRGB, description: str = "RGB", more: Mapping[bytes, bytes] | None = None
) -> bytes:
    """A display with these primaries and a gamma of 2.2."""
    tags = {bytes([letter]) + b"XYZ": _xyz(primary) for letter, primary in zip(b"rgb", primaries, strict=True)}
    tags |= {bytes([letter]) + b"TRC": _gamma(2.2) for letter in b"rgb"}
    return icc_profile(b"RGB ", {**tags, **(more or {})}, description)


def grey_profile() -> bytes:
    """A grey display."""
    return icc_profile(b"GRAY", {b"kTRC": _gamma(1.8)}, "grey")


def cmyk_profile() -> bytes:
    """A printer of four ideal inks: a table of its 16 full mixtures in Lab."""
    inks = np.array(list(itertools.product((0.0, 1.0), repeat=4)))
    rgb = (1 - inks[:, :3]) * (1 - inks[:, 3:])
    relative = rgb @ np.array(SRGB) / np.array(WHITE)
    root = np.where(relative > 0.008856, np.cbrt(relative), relative * 7.787 + 16 / 116)
    lab = [(116 * y - 16, 500 * (x - y), 200 * (y - z)) for x, y, z in root]
    corners = [level for light, red, yellow in lab for level in (light * 2.55, red + 128, yellow + 128)]
    curve = bytes(range(256))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1) + curve * 4
    table += bytes(int(min(255, max(0, round(level)))) for level in corners) + curve * 3
    return icc_profile(b"CMYK", {b"A2B0": table}, "four inks", device=b"prtr", pcs=b"Lab ")

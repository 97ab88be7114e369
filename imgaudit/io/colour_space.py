"""Colour spaces that files declare without a colour profile, and their conversion to sRGB.

Primaries and transfers have the numbers of ITU-T H.273, which PNG (cICP), AVIF and HEIF (nclx) use.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Chromaticities = tuple[float, float, float, float, float, float, float, float]
"""CIE x and y of white, red, green and blue."""

D65 = (0.3127, 0.3290)
SRGB: Chromaticities = (*D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
PRIMARIES: dict[int, tuple[str, Chromaticities]] = {
    1: ("sRGB", SRGB),
    4: ("NTSC 1953", (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08)),
    5: ("BT.601 (625 lines)", (*D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06)),
    6: ("BT.601 (525 lines)", (*D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070)),
    7: ("SMPTE 240M", (*D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070)),
    9: ("BT.2020", (*D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046)),
    11: ("DCI P3", (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)),
    12: ("Display P3", (*D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)),
}
"""Names and chromaticities of H.273's colour primaries."""

TRANSFER_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}
"""Exponents of H.273's transfers that are powers."""

LIKE_SRGB = frozenset({1, 2, 6, 13, 14, 15})
"""Transfers that still pictures are shown by as if they were sRGB's: its own, BT.709's and its kin, and none named."""

HIGH_DYNAMIC_RANGE = {16: "PQ", 18: "HLG"}
"""Transfers that say nothing about how bright white is on a screen."""


@dataclass(frozen=True)
class ColourSpace:
    """Meaning of RGB numbers."""

    name: str
    """Words for a note ("Adobe RGB (EXIF)")."""
    chromaticities: Chromaticities
    """White, red, green and blue."""
    gamma: float = 0.0
    """Exponent from numbers to light; 0 for sRGB's curve."""
    overrules_profile: bool = False
    """Whether the format says that this goes before a colour profile in the file."""

    @property
    def is_srgb(self) -> bool:
        """Whether conversion would change nothing that can be seen: sRGB within what cHRM and gAMA are rounded to."""
        near = max(abs(a - b) for a, b in zip(self.chromaticities, SRGB, strict=True)) < 0.002
        return near and (self.gamma == 0 or 2.15 < self.gamma < 2.25)


ADOBE_RGB = ColourSpace("Adobe RGB", (*D65, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06), 563 / 256)


def name_coding(coding: tuple[int, int], source: str) -> ColourSpace | None:
    """Return the space of H.273 primaries and transfer; None for numbers that are not known.

    >>> name_coding((12, 13), "cICP").name, name_coding((200, 13), "cICP")
    ('Display P3 (cICP)', None)
    """
    primaries, transfer = coding
    # 2 is "unspecified".
    name, chromaticities = PRIMARIES.get(1 if primaries == 2 else primaries, ("", SRGB))
    if not name or (transfer not in LIKE_SRGB and transfer not in TRANSFER_GAMMAS):
        return None
    return ColourSpace(f"{name} ({source})", chromaticities, TRANSFER_GAMMAS.get(transfer, 0.0))


def _to_xyz(chromaticities: Chromaticities) -> NDArray[np.float64]:
    """Return the matrix from linear RGB to XYZ whose white is D65, adapted by Bradford's method."""
    x, y = np.array(chromaticities[0::2]), np.array(chromaticities[1::2])
    xyz = np.stack([x / y, np.ones(4), (1 - x - y) / y])
    white, primaries = xyz[:, 0], xyz[:, 1:]
    matrix = primaries * np.linalg.solve(primaries, white)
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    target = np.array([D65[0] / D65[1], 1.0, (1 - sum(D65)) / D65[1]])
    scale = np.diag((bradford @ target) / (bradford @ white))
    return np.asarray(np.linalg.solve(bradford, scale @ bradford) @ matrix)


def convert_to_srgb(image: Image.Image, space: ColourSpace) -> Image.Image:
    """Return an RGB picture of 8 bit in sRGB; colours that sRGB does not have are clipped.

    Raises ValueError or numpy.linalg.LinAlgError for chromaticities that make no colour space.

    >>> convert_to_srgb(Image.new("RGB", (1, 1), (150, 190, 120)), ADOBE_RGB).getpixel((0, 0))
    (131, 191, 117)
    """
    if min(space.chromaticities[1::2]) <= 0:
        raise ValueError("chromaticities need y above 0")
    matrix = np.linalg.solve(_to_xyz(SRGB), _to_xyz(space.chromaticities)).T.astype(np.float32)
    steps = np.arange(256) / 255
    curve = np.where(steps <= 0.04045, steps / 12.92, ((steps + 0.055) / 1.055) ** 2.4)
    light = (steps**space.gamma if space.gamma else curve).astype(np.float32)
    values = np.asarray(image)
    converted = np.empty(values.shape, dtype=np.uint8)
    for start in range(0, len(values), 256):
        linear = np.clip(light[values[start : start + 256]] @ matrix, 0, 1)
        encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** np.float32(1 / 2.4) - 0.055)
        converted[start : start + 256] = (encoded * 255).round()
    return Image.fromarray(converted)

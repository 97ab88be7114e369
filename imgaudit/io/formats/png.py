"""Chunks of a PNG that say how deep its samples are and what its colours mean."""

import struct
from dataclasses import dataclass

from PIL import Image

MAX_CHUNKS = 10_000
"""Chunks that are walked before the pixels."""


@dataclass(frozen=True)
class PngStructure:
    """Contents of the chunks in front of a PNG's pixels."""

    bits: int
    """Bits a sample; 0 when the header is missing."""
    coding: tuple[int, int] | None
    """Primaries and transfer of cICP, as H.273 numbers them."""
    gamma: float | None
    """Exponent of gAMA by which samples were made from light (0.45455 for ordinary screens)."""
    primaries: tuple[float, float, float, float, float, float, float, float] | None
    """White, red, green, blue of cHRM as CIE x and y: eight numbers."""
    srgb: bool
    """Presence of the sRGB chunk, which overrules gAMA and cHRM."""
    profile: bool
    """Presence of a colour profile (iCCP), which does so too."""


def read_png_structure(data: bytes) -> PngStructure:
    """Walk the chunks in front of the pixels. A damaged file ends the walk early, and is left to the decoder.

    >>> read_png_structure(b"\\x89PNG").bits
    0
    """
    chunks: dict[bytes, bytes] = {}
    place = 8
    for _ in range(MAX_CHUNKS):
        head = data[place : place + 8]
        if len(head) < 8 or head[4:] in {b"IDAT", b"IEND"}:
            break
        length = int.from_bytes(head[:4], "big")
        chunks.setdefault(head[4:], data[place + 8 : place + 8 + min(length, 64)])
        place += 12 + length
    header, coding = chunks.get(b"IHDR", b""), chunks.get(b"cICP", b"")
    gamma, primaries = chunks.get(b"gAMA", b""), chunks.get(b"cHRM", b"")
    gamma_number = int.from_bytes(gamma, "big") / 100_000 if len(gamma) == 4 else 0
    return PngStructure(
        bits=header[8] if len(header) > 8 else 0,
        coding=(coding[0], coding[1]) if len(coding) == 4 else None,
        gamma=gamma_number or None,
        primaries=_read_primaries(primaries) if len(primaries) == 32 else None,
        srgb=b"sRGB" in chunks,
        profile=b"iCCP" in chunks,
    )


def scale_transparent_grey(image: Image.Image, bits: int) -> None:
    """Bring the grey that a PNG calls transparent (tRNS) to 8 bits, as Pillow brings the pixels and not this number.

    image:  greyscale, as Pillow opened it; others stay as they are
    bits:   a sample in the file
    """
    grey = image.info.get("transparency")
    if image.mode == "L" and bits in {2, 4} and isinstance(grey, int):
        image.info["transparency"] = grey * 255 // (2**bits - 1)


def _read_primaries(body: bytes) -> tuple[float, float, float, float, float, float, float, float]:
    a, b, c, d, e, f, g, h = (one / 100_000 for one in struct.unpack(">8I", body))
    return a, b, c, d, e, f, g, h

"""Small files that ask for much memory or time."""

import struct
import zlib

from PIL import Image

from imgaudit.benchmark.robustness.hostile.bytes import (
    deflated_zeros,
    longs,
    png,
    png_chunk,
    shorts,
    tiff,
    tiff_directory,
    tiff_fields,
    with_png_chunks,
)
from imgaudit.benchmark.robustness.hostile.folder import HostileFolder, Outcome, encoded

KIND = "decompression bomb"

HUGE = 60_000
"""A side that no reader should believe."""

SCANS = 400
"""Scans of one progressive JPEG; an ordinary one has ten."""

PAGES = 5_000
"""Pages of one TIFF; readers that look back at all earlier ones take quadratic time."""

FRAMES = 50_000
"""Frames of one GIF."""


def put_bombs(target: HostileFolder) -> None:
    """Sizes that are only declared, data that unfolds, and structures that go on and on."""
    target.put_all(KIND, _declared() | _unfolding(), Outcome.SKIPPED)
    hundred = deflated_zeros(100_000_000)
    sound = target.encoded("PNG")
    longer = {
        "profile unfolds.png": with_png_chunks(sound, png_chunk(b"iCCP", b"own\0\0" + hundred)),
        "text unfolds.png": with_png_chunks(sound, png_chunk(b"zTXt", b"Comment\0\0" + hundred)),
        "international text unfolds.png": with_png_chunks(sound, png_chunk(b"iTXt", b"a\0\1\0\0\0" + hundred)),
        "many remarks.png": with_png_chunks(sound, png_chunk(b"tEXt", b"Comment\0" + b"x" * 100) * 20_000),
        f"{SCANS} scans.jpg": _scans(target.picture((1000, 1000))),
        f"{PAGES} pages.tif": _pages(target.picture(mode="L")),
        f"{FRAMES} frames.gif": _frames(target.picture()),
    }
    target.put_all(KIND, longer, Outcome.EITHER)


def _declared() -> dict[str, bytes]:
    size, nothing = (HUGE, HUGE), zlib.compress(b"")
    extended = b"VP8X" + struct.pack("<IB3x", 10, 0) + (16_382).to_bytes(3, "little") * 2
    header = struct.pack("<IiiHHIIiiII", 40, HUGE, HUGE, 1, 24, 0, 0, 0, 0, 0, 0)
    return {
        "declared.png": png(size, nothing),
        "declared wide.png": png((2**31 - 1, 1), nothing),
        "declared.gif": b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0x80, 0, 0) + bytes(6)
        + b"\x2c" + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0) + b"\2\2\x44\1\0;",
        "declared.tif": tiff(tiff_fields(size, 3, 8, 12), bytes(12)),
        "declared.webp": b"RIFF" + struct.pack("<I", 4 + len(extended)) + b"WEBP" + extended,
        "declared.bmp": b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header + bytes(64),
        "declared.ppm": b"P6 60000 60000 255\n" + bytes(64),
        "declared.jpg": b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 11, 8, HUGE, HUGE, 1) + b"\1\x11\0"
        + b"\xff\xda\0\x08\1\1\0\0\x3f\0\0\xff\xd9",
    }  # fmt: skip


def _unfolding() -> dict[str, bytes]:
    side, allowed, hidden = 20_000, 8_000, 13_000
    clear = png_chunk(b"PLTE", bytes(768)), png_chunk(b"tRNS", b"\0")
    large = png((hidden, hidden), deflated_zeros(hidden * (hidden * 4 + 1)), colour=6)
    # The outer header says 16 x 16; only the PNG inside tells the truth.
    icon = struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(large), 22) + large
    return {
        "unfolds within an icon.png": icon,
        "unfolds to one bit.png": png((side, side), deflated_zeros(side * (side // 8 + 1)), depth=1, colour=0),
        "unfolds to grey.png": png((side, side), deflated_zeros(side * (side + 1)), colour=0),
        "unfolds to RGB.png": png((side, side), deflated_zeros(side * (side * 3 + 1))),
        # Below many readers' limits on pixels, yet gigabytes where each copy is kept in wide numbers.
        "64 million of 16 bits.png": png(
            (allowed, allowed), deflated_zeros(allowed * (allowed * 2 + 1)), depth=16, colour=0
        ),
        "64 million clear ones.png": png((allowed, allowed), deflated_zeros(allowed * (allowed + 1)), *clear, colour=3),
    }


def _scans(image: Image.Image) -> bytes:
    data = encoded(image, "JPEG", progressive=True)
    last, end = data.rindex(b"\xff\xda"), len(data) - 2
    return data[:last] + data[last:end] * SCANS + data[end:]


def _pages(image: Image.Image) -> bytes:
    pixels = image.tobytes()
    fields = tiff_fields(image.size, 1, 8, len(pixels))
    page = {256: longs(1), 257: longs(1), 262: shorts(1), 273: longs(8), 279: longs(1)}
    first = 8 + len(pixels)
    start, length = first + len(tiff_directory(fields, first)), len(tiff_directory(page, 0))
    parts = [tiff(fields, pixels, start)]
    for number in range(PAGES):
        following = start + (number + 1) * length if number + 1 < PAGES else 0
        parts.append(tiff_directory(page, start + number * length, following))
    return b"".join(parts)


def _frames(image: Image.Image) -> bytes:
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\2\2\x44\1\0"
    return encoded(image, "GIF")[:-1] + frame * FRAMES + b";"

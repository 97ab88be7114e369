"""PNG, JPEG and TIFF files put together byte by byte, as no library would write them."""

import struct
import zlib
from collections.abc import Mapping

from PIL import Image

ASCII, SHORT, LONG, RATIONAL, UNDEFINED = 2, 3, 4, 5, 7
"""Types of TIFF fields."""

_TYPE_SIZES = {ASCII: 1, SHORT: 2, LONG: 4, RATIONAL: 8, UNDEFINED: 1}

Fields = Mapping[int, tuple[int, bytes]]
"""TIFF fields: tag to type and little-endian values."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_PNG_HEAD = len(PNG_SIGNATURE) + 25

_BLOCK = 1 << 20


def png_chunk(kind: bytes, data: bytes = b"") -> bytes:
    """One chunk with its check sum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(size: tuple[int, int], deflated: bytes, *chunks: bytes, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG that declares whatever it is told.

    deflated:  the pixel rows, each led by its filter byte, as a zlib stream
    chunks:    what stands between header and pixels
    colour:    0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA
    """
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0))
    return b"".join([PNG_SIGNATURE, header, *chunks, png_chunk(b"IDAT", deflated), png_chunk(b"IEND")])


def png_rows(values: bytes, height: int) -> bytes:
    """Pixel rows as an unfiltered zlib stream."""
    stride = len(values) // height
    return zlib.compress(b"".join(b"\0" + values[start : start + stride] for start in range(0, len(values), stride)))


def with_png_chunks(data: bytes, *chunks: bytes) -> bytes:
    """A PNG with more chunks behind its header."""
    return data[:_PNG_HEAD] + b"".join(chunks) + data[_PNG_HEAD:]


def deflated_zeros(count: int) -> bytes:
    """The zlib stream of `count` zero bytes, a thousandth of their size, without holding or hashing them."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    # A full flush ends on a byte and forgets what came before, so one block can stand any number of times.
    block = packer.compress(bytes(_BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)
    rest = packer.compress(bytes(count % _BLOCK)) + packer.flush()
    # Adler-32 of n zeros: the low sum stays 1, the high one grows by 1 with each.
    check = (count % 65521) << 16 | 1
    return b"\x78\xda" + block * (count // _BLOCK) + rest + struct.pack(">I", check)


def jpeg_segment(marker: int, data: bytes) -> bytes:
    """One marker segment; cut where its length field ends."""
    data = data[: 0xFFFF - 2]
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def with_jpeg_segments(data: bytes, *segments: bytes) -> bytes:
    """A JPEG with more segments behind its first marker."""
    return data[:2] + b"".join(segments) + data[2:]


def shorts(*values: int) -> tuple[int, bytes]:
    """A TIFF field of 16-bit numbers."""
    return SHORT, struct.pack(f"<{len(values)}H", *values)


def longs(*values: int) -> tuple[int, bytes]:
    """A TIFF field of 32-bit numbers."""
    return LONG, struct.pack(f"<{len(values)}I", *values)


def text_field(text: str) -> tuple[int, bytes]:
    """A TIFF field of ASCII text."""
    return ASCII, text.encode("ascii") + b"\0"


def tiff_directory(fields: Fields, start: int, following: int = 0) -> bytes:
    """A TIFF directory that stands at byte `start`, then the values that do not fit into it."""
    beyond = start + 2 + 12 * len(fields) + 4
    entries, values = [struct.pack("<H", len(fields))], b""
    for tag, (kind, data) in sorted(fields.items()):
        count = len(data) // _TYPE_SIZES[kind]
        if len(data) <= 4:
            place = data.ljust(4, b"\0")
        else:
            place = struct.pack("<I", beyond + len(values))
            values += data + b"\0" * (len(data) % 2)
        entries.append(struct.pack("<HHI", tag, kind, count) + place)
    return b"".join([*entries, struct.pack("<I", following), values])


def tiff(fields: Fields, body: bytes = b"", following: int = 0) -> bytes:
    """A little-endian TIFF: eight bytes of header, the body, and one directory behind it."""
    body += b"\0" * (len(body) % 2)
    start = 8 + len(body)
    return b"II*\0" + struct.pack("<I", start) + body + tiff_directory(fields, start, following)


def tiff_fields(size: tuple[int, int], channels: int, bits: int, byte_count: int) -> dict[int, tuple[int, bytes]]:
    """The fields of an uncompressed grey or RGB image whose pixels are the body of :func:`tiff`."""
    width, height = size
    return {
        256: longs(width), 257: longs(height), 258: shorts(*[bits] * channels), 259: shorts(1),
        262: shorts(2 if channels >= 3 else 1), 273: longs(8), 277: shorts(channels), 278: longs(height),
        279: longs(byte_count),
    }  # fmt: skip


def tiff_of(image: Image.Image) -> tuple[dict[int, tuple[int, bytes]], bytes]:
    """Fields and pixels of an 8-bit RGB image, to be damaged."""
    pixels = image.convert("RGB").tobytes()
    return tiff_fields(image.size, 3, 8, len(pixels)), pixels

"""IPTC's older block of captions (IIM), in JPEG, TIFF and PNG files, and the digest that tells if it is out of date.

The Metadata Working Group's guidance: a program that knows both writes the same caption to IPTC and XMP, and the MD5 of
the IPTC block beside it. So XMP is the one to read, unless that digest is there and does not fit: then a program that
knows IPTC alone has changed the block since.
"""

import hashlib
import re
import struct
from collections.abc import Iterator

from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from imgaudit.io.metadata_bytes import MAX_FIELD_BYTES, decode_field, read_raw_profile, take_bytes

_IPTC_IN_TIFF, _RESOURCES_IN_TIFF = 33723, 34377
_BLOCK, _DIGEST = 0x0404, 0x0425

_UPPER_HALVES = {
    b"A": "cp1252", b"B": "iso8859_2", b"C": "iso8859_3", b"D": "iso8859_4", b"F": "iso8859_7", b"G": "iso8859_6",
    b"H": "iso8859_8", b"L": "iso8859_5", b"M": "iso8859_9", b"T": "iso8859_11", b"V": "iso8859_10",
    b"Y": "iso8859_13", b"_": "iso8859_14", b"b": "iso8859_15", b"f": "iso8859_16",
}  # fmt: skip
"""The character set that an ISO 2022 escape with this last byte calls up."""


def read_iptc_captions(image: Image.Image) -> Iterator[str]:
    """Yield every Caption/Abstract. Raises ValueError or struct.error at the first damage."""
    encoding = "utf-8"
    for record, dataset, value in _iptc_datasets(_iptc_block(image)):
        if (record, dataset) == (1, 90):
            escapes = re.findall(rb"\x1b[,\-./](.)", value, re.DOTALL)
            encoding = next((_UPPER_HALVES[final] for final in escapes if final in _UPPER_HALVES), encoding)
        elif (record, dataset) == (2, 120):
            yield decode_field(value, encoding)


def iptc_is_newer(image: Image.Image) -> bool:
    """Return whether the digest beside the IPTC block says that the block was changed after XMP was written."""
    digest = _digest(image)
    if len(digest) != 16:
        return False
    block = _iptc_block(image)
    # A TIFF's block is filled up with zeros, which some programs count and some do not.
    filled = {block, block.rstrip(b"\0"), block + bytes(-len(block) % 4)}
    return digest not in {hashlib.md5(one, usedforsecurity=False).digest() for one in filled}


def _digest(image: Image.Image) -> bytes:
    if isinstance(image, TiffImageFile):
        return _find_resource(take_bytes(image.tag_v2._tagdata.get(_RESOURCES_IN_TIFF, b"")), _DIGEST)
    resources = image.info.get("photoshop")
    if isinstance(resources, dict):
        return take_bytes(resources.get(_DIGEST))
    return _find_resource(read_raw_profile(image, "iptc"), _DIGEST)


def _find_resource(block: bytes, number: int) -> bytes:
    """Return the data of one of Photoshop's resources; empty where there is none."""
    position = 0
    while block[position : position + 4] == b"8BIM" and position + 12 <= len(block):
        (found,) = struct.unpack_from(">H", block, position + 4)
        name = block[position + 6]
        position += 7 + name + (name + 1) % 2
        if position + 4 > len(block):
            break
        (size,) = struct.unpack_from(">I", block, position)
        position += 4
        if found == number:
            return block[position : position + size]
        position += size + size % 2
    return b""


def _iptc_block(image: Image.Image) -> bytes:
    if isinstance(image, TiffImageFile):
        # Often typed as 32-bit numbers, and some writers even swap their bytes; what counts is the bytes in the file.
        block = image.tag_v2._tagdata.get(_IPTC_IN_TIFF, b"")[:MAX_FIELD_BYTES]
        if block[:1] != b"\x1c" == block[3:4]:
            words = len(block) // 4
            block = struct.pack(f">{words}I", *struct.unpack_from(f"<{words}I", block))
        return block
    resources = image.info.get("photoshop")
    if isinstance(resources, dict):
        return take_bytes(resources.get(_BLOCK))
    block = read_raw_profile(image, "iptc")
    _, found, resource = block.partition(b"8BIM\x04\x04\0\0")
    return resource[4 : 4 + int.from_bytes(resource[:4], "big")] if found else block


def _iptc_datasets(block: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield record, dataset and value; raises ValueError or struct.error at the first damage."""
    position, end = 0, len(block.rstrip(b"\0"))
    while position < end:
        marker, record, dataset, size = struct.unpack_from(">BBBH", block, position)
        position += 5
        if size & 0x8000:  # The low bits count the bytes of the true size, which follow.
            width = min(size & 0x7FFF, 8)
            size = int.from_bytes(block[position : position + width], "big")
            position += width
        if marker != 0x1C or position + size > len(block):
            raise ValueError("the IPTC block is damaged")
        yield record, dataset, block[position : position + size]
        position += size

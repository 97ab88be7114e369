"""Boxes of a HEIF or AVIF file (ISO 14496-12 and 23008-12): what it says of its primary picture and of the others."""

from collections.abc import Iterator
from dataclasses import dataclass

MAX_BOXES = 20_000
"""Boxes, items and properties that are walked, altogether in one container."""

GAIN_MAP_TYPES = (b"urn:com:apple:photo:2020:aux:hdrgainmap", b"urn:iso:std:iso:ts:21496:-1")


@dataclass(frozen=True)
class HeifStructure:
    """Declarations of a HEIF or AVIF file."""

    coding: tuple[int, int] | None
    """Primaries and transfer of the primary picture's nclx, as H.273 numbers them."""
    bits: int
    """Bits a sample of the primary picture; 0 when nothing says so."""
    gain_map: bool
    """Presence of a gain map, from which HDR screens show a brighter picture."""
    pictures: int
    """Pictures that are neither parts, thumbnails, nor auxiliary to others."""
    film: bool
    """Presence of a film beside the picture, as phones write motion photos."""


Box = tuple[bytes, bytes]


def _boxes(data: bytes) -> Iterator[Box]:
    place = 0
    for _ in range(MAX_BOXES):
        if len(data) < place + 8:
            return
        size, kind, head = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[place + 8 : place + 16], "big"), 16
        if size == 0:
            size = len(data) - place
        if size < head:
            return
        yield kind, data[place + head : place + size]
        place += size


def find_box(data: bytes, kind: bytes) -> bytes:
    """Return the body of the first box of a kind in a container; empty when there is none."""
    return next((body for name, body in _boxes(data) if name == kind), b"")


def read_heif_structure(data: bytes) -> HeifStructure:
    """Read the boxes of a HEIF or AVIF file. What is damaged counts as not there, and is left to the decoder.

    >>> read_heif_structure(b"").pictures
    0
    """
    meta, film = b"", False
    for kind, body in _boxes(data):
        if kind == b"meta" and not meta:
            meta = body[4:]
        film |= kind == b"mpvd" or (kind == b"moov" and bool(meta) and data[8:12] not in {b"avis", b"hevc", b"msf1"})
    primary = _read_primary(find_box(meta, b"pitm"))
    types = dict(_read_items(find_box(meta, b"iinf")))
    properties = _read_properties(find_box(meta, b"iprp"))
    own = [box for item, box in properties if item == primary]
    auxiliary = [body[4:] for kind, body in _boxes(find_box(find_box(meta, b"iprp"), b"ipco")) if kind == b"auxC"]
    lesser = set(_read_references(find_box(meta, b"iref")))
    shown = [item for item, kind in types.items() if kind in {b"hvc1", b"av01", b"grid", b"iovl", b"iden", b"jpeg"}]
    return HeifStructure(
        coding=_read_coding(own),
        bits=_read_bits(own),
        gain_map=b"tmap" in types.values() or any(one.startswith(GAIN_MAP_TYPES) for one in auxiliary),
        pictures=len([item for item in shown if item not in lesser]),
        film=film,
    )


def _read_primary(body: bytes) -> int:
    return int.from_bytes(body[4:6] if body[:1] == b"\0" else body[4:8], "big")


def _read_items(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the type of each item that is not hidden."""
    for kind, entry in _boxes(body[6 if body[:1] == b"\0" else 8 :]):
        if kind != b"infe" or len(entry) < 12 or entry[0] not in {2, 3} or entry[3] & 1:
            continue
        wide = entry[0] == 3
        yield int.from_bytes(entry[4:8] if wide else entry[4:6], "big"), entry[10:14] if wide else entry[8:12]


def _read_references(body: bytes) -> Iterator[int]:
    """Yield items that are parts, thumbnails or auxiliary pictures of others."""
    width = 2 if body[:1] == b"\0" else 4
    for kind, entry in _boxes(body[4:]):
        count = int.from_bytes(entry[width : width + 2], "big")
        targets = entry[width + 2 : width + 2 + min(count, MAX_BOXES) * width]
        if kind in {b"thmb", b"auxl"}:
            yield int.from_bytes(entry[:width], "big")
        elif kind == b"dimg":
            yield from (int.from_bytes(targets[at : at + width], "big") for at in range(0, len(targets), width))


def _read_properties(body: bytes) -> list[tuple[int, Box]]:
    """Return each item's number with each of its properties."""
    known = list(_boxes(find_box(body, b"ipco")))
    found: list[tuple[int, Box]] = []
    for kind, table in _boxes(body):
        if kind != b"ipma" or len(table) < 8:
            continue
        wide_item, wide_index, place = table[0] > 0, table[3] & 1, 8
        for _ in range(min(int.from_bytes(table[4:8], "big"), MAX_BOXES)):
            width = 4 if wide_item else 2
            item = int.from_bytes(table[place : place + width], "big")
            count = int.from_bytes(table[place + width : place + width + 1], "big")
            place += width + 1
            for _ in range(count):
                step = 2 if wide_index else 1
                index = int.from_bytes(table[place : place + step], "big") & (0x7FFF if wide_index else 0x7F)
                place += step
                if 1 <= index <= len(known):
                    found.append((item, known[index - 1]))
            if place >= len(table):
                break
    return found


def _read_coding(properties: list[Box]) -> tuple[int, int] | None:
    for kind, body in properties:
        if kind == b"colr" and body[:4] == b"nclx" and len(body) >= 10:
            return int.from_bytes(body[4:6], "big"), int.from_bytes(body[6:8], "big")
    return None


def _read_bits(properties: list[Box]) -> int:
    bits = 0
    for kind, body in properties:
        if kind == b"pixi" and len(body) > 5:
            bits = max(bits, *body[5 : 5 + body[4]], 0)
        elif kind == b"hvcC" and len(body) > 17:
            bits = max(bits, (body[17] & 7) + 8)
        elif kind == b"av1C" and len(body) > 2:
            bits = max(bits, (12 if body[2] & 0x20 else 10) if body[2] & 0x40 else 8)
    return bits

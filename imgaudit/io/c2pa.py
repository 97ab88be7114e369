"""The active manifest of C2PA (Content Credentials) in a JPEG or PNG file: does it say that a model made the picture?

Only boxes are walked, within bounds; no signature is checked, since a false statement of this kind helps nobody. The
manifests of what a picture was made from lie in the same store, before the active one, and are passed over.
"""

import struct
from collections.abc import Iterator

MAX_STORE_BYTES = 16 * 1024 * 1024
"""Larger stores are not read: they hold thumbnails and signatures, not more statements."""

_MAX_BOXES = 10_000
_MANIFEST_KINDS = (b"c2ma", b"c2um")


def was_generated(data: bytes) -> bool:
    """Return whether the active manifest of a file says that a trained model created the picture.

    data:  the bytes of the file

    >>> was_generated(b"")
    False
    """
    try:
        store = _find_store(data)
        manifests = [box for box in _list_boxes(_enter(store)) if _kind(box) in _MANIFEST_KINDS]
        return bool(manifests) and any(map(_states_generation, _find_actions(manifests[-1])))
    except (struct.error, IndexError, ValueError):
        return False


def _find_store(data: bytes) -> bytes:
    """Return the content of the outermost box; empty where the file has none."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _content(next((body for kind, body in _png_chunks(data) if kind == b"caBX"), b""))
    return _content(b"".join(_jpeg_parts(data))) if data.startswith(b"\xff\xd8") else b""


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 8
    while position + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"IDAT" and size == 0:
            return
        yield kind, data[position + 8 : position + 8 + min(size, MAX_STORE_BYTES)] if kind == b"caBX" else b""
        position += 12 + size


def _jpeg_parts(data: bytes) -> Iterator[bytes]:
    """Yield the parts of the first box of the application segments 11, which repeat its head."""
    position, taken, number = 2, 0, None
    while data[position : position + 1] == b"\xff" and taken < MAX_STORE_BYTES:
        marker, size = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == 0xDA or size < 2:
            return
        body = data[position + 4 : position + 2 + size]
        if marker == 0xEB and body[:2] == b"JP" and body[12:16] == b"jumb" and number in (None, body[2:4]):
            part = body[8:] if number is None else body[16:]
            number, taken = body[2:4], taken + len(part)
            yield part
        position += 2 + size


def _list_boxes(data: bytes) -> list[bytes]:
    """Return the boxes that lie one behind the other, each whole."""
    found: list[bytes] = []
    position = 0
    while position + 8 <= len(data) and len(found) < _MAX_BOXES:
        size = int.from_bytes(data[position : position + 4], "big") or len(data) - position
        if size < 8:
            break
        found.append(data[position : position + size])
        position += size
    return found


def _content(box: bytes) -> bytes:
    return box[8:]


def _enter(content: bytes) -> bytes:
    """Return what follows the description box in a box of boxes."""
    return content[int.from_bytes(content[:4], "big") :] if content[4:8] == b"jumd" else b""


def _kind(box: bytes) -> bytes:
    """Return the first four bytes of the type in a box's description."""
    return box[16:20] if box[4:8] == b"jumb" and box[12:16] == b"jumd" else b""


def _label(box: bytes) -> bytes:
    # The description: 8 bytes of head, 16 of type, one of flags, then the label up to a zero.
    return box[33:].partition(b"\0")[0] if _kind(box) else b""


def _find_actions(manifest: bytes) -> Iterator[bytes]:
    for part in _list_boxes(_enter(_content(manifest))):
        if _label(part) == b"c2pa.assertions":
            for assertion in _list_boxes(_enter(_content(part))):
                if _label(assertion).split(b"__")[0] in {b"c2pa.actions", b"c2pa.actions.v2"}:
                    yield from (
                        _content(box) for box in _list_boxes(_enter(_content(assertion))) if box[4:8] == b"cbor"
                    )


def _states_generation(actions: bytes) -> bool:
    """Return whether actions in CBOR create the picture, by a model: their texts stand there as they are."""
    where = actions.find(b"digitalSourceType")
    while where >= 0:
        head, rest = actions[where + 17 : where + 19], actions[where + 18 :]
        text = rest[1 : 1 + head[1]] if head[:1] == b"\x78" else rest[: head[0] & 0x1F] if head else b""
        if text.rpartition(b"/")[2] == b"trainedAlgorithmicMedia" and b"c2pa.created" in actions:
            return True
        where = actions.find(b"digitalSourceType", where + 1)
    return False

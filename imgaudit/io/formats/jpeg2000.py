"""Header of a JPEG 2000 file or codestream: how deep its samples are, and its colour profile."""

from imgaudit.io.formats.heif import find_box

SIZE_MARKER = b"\xff\x4f\xff\x51"
"""Start of a codestream and of its SIZ segment, which come first in every codestream."""


def read_depth(data: bytes) -> int:
    """Return the bits a sample, the largest of all channels; 0 when nothing says so.

    >>> read_depth(b"")
    0
    """
    stream = data if data.startswith(SIZE_MARKER) else find_box(data, b"jp2c")
    if not stream.startswith(SIZE_MARKER):
        return 0
    channels = int.from_bytes(stream[40:42], "big")
    depths = stream[42 : 42 + 3 * min(channels, 64) : 3]
    return max(((depth & 0x7F) + 1 for depth in depths), default=0)


def read_profile(data: bytes) -> bytes:
    """Return the ICC profile of the first colour box; empty when it names its colours by a number."""
    colour = find_box(find_box(data, b"jp2h"), b"colr")
    return colour[3:] if colour[:1] in {b"\2", b"\3"} else b""

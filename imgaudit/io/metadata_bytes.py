"""Bytes of metadata fields: taken up to a bound, and decoded by what they are written in."""

import codecs
import contextlib

from PIL import Image

MAX_FIELD_BYTES = 1024 * 1024
"""No more is read of an IPTC block, an XMP packet, an EXIF block or a PNG text."""


def take_bytes(value: object) -> bytes:
    """Return the start of a field that Pillow gives as bytes or as Latin-1 text. Raises TypeError for numbers.

    >>> take_bytes("a"), take_bytes(None)
    (b'a', b'')
    """
    if isinstance(value, str):
        return value[:MAX_FIELD_BYTES].encode("latin-1", errors="replace")
    if isinstance(value, bytes):
        return value[:MAX_FIELD_BYTES]
    if value is None:
        return b""
    raise TypeError(f"expected text, but got {type(value).__name__}")


def decode_field(data: bytes, encoding: str = "utf-8") -> str:
    """Decode text in `encoding` if it fits, else as UTF-8, else as Windows' Latin-1.

    >>> decode_field(b"caf\\xc3\\xa9"), decode_field(b"caf\\xe9")
    ('café', 'café')
    """
    for attempt in (encoding, "utf-8"):
        with contextlib.suppress(UnicodeDecodeError):
            return data.decode(attempt)
    with contextlib.suppress(UnicodeDecodeError):
        # A size limit may have cut UTF-8 within its last character; Latin-1 hardly has other characters that fit.
        whole = codecs.getincrementaldecoder("utf-8")().decode(data)
        if not whole.isascii():
            return whole
    return data.decode("cp1252", errors="replace")


def read_raw_profile(image: Image.Image, name: str) -> bytes:
    """Return what ImageMagick keeps in a PNG's text: three lines of header, then hexadecimal digits.

    Raises ValueError for what are no such digits.
    """
    text = image.info.get(f"Raw profile type {name}")
    return bytes.fromhex("".join(text[: 2 * MAX_FIELD_BYTES].split("\n")[3:])) if isinstance(text, str) else b""

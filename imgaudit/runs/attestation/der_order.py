"""The certificates in a timestamp response, in the order that DER asks for.

Many authorities, those that run `openssl ts` among them, send the certificates of their chain in the order of the
chain. DER wants a set sorted by its bytes, and the parser insists on it. No signature covers this part of a response,
so that sorting it changes nothing that was signed.
"""

from collections.abc import Iterator
from dataclasses import dataclass

SEQUENCE, CERTIFICATES, REVOCATION_LISTS = 0x30, 0xA0, 0xA1


@dataclass(frozen=True)
class Element:
    """One element of DER inside some bytes."""

    tag: int
    """First byte."""
    start: int
    """Position of its first byte."""
    content: int
    """Position of its content."""
    end: int
    """Position after it."""


def sort_certificates(response: bytes) -> bytes:
    """Return a timestamp response with its certificates and revocation lists sorted by their bytes; same length.

    A response without a token, which is a refusal, is returned as it is. Raises ValueError for bytes that are no DER.
    """
    (whole,) = _elements(response, 0, len(response))
    parts = list(_elements(response, whole.content, whole.end))
    if len(parts) < 2:
        return response
    # ContentInfo: an object identifier and, tagged, the SignedData.
    _, tagged = list(_elements(response, parts[1].content, parts[1].end))
    (signed,) = _elements(response, tagged.content, tagged.end)
    for part in _elements(response, signed.content, signed.end):
        if part.tag in (CERTIFICATES, REVOCATION_LISTS):
            inside = _elements(response, part.content, part.end)
            ordered = sorted(response[one.start : one.end] for one in inside)
            response = response[: part.content] + b"".join(ordered) + response[part.end :]
    return response


def _elements(data: bytes, start: int, end: int) -> Iterator[Element]:
    """Yield the elements between two positions. Raises ValueError for lengths that do not fit."""
    while start < end:
        if start + 2 > end:
            raise ValueError("it ends within an element")
        length, content = data[start + 1], start + 2
        if length == 0x80:
            raise ValueError("it has elements without a length (BER); expected DER")
        if length > 0x80:
            digits = length & 0x7F
            length, content = int.from_bytes(data[content : content + digits], "big"), content + digits
        if content + length > end:
            raise ValueError("it ends within an element")
        yield Element(data[start], start, content, content + length)
        start = content + length

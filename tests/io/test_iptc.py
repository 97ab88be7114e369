"""Captions in IPTC blocks: their character sets, their place beside XMP, and damaged ones."""

import hashlib

import pytest

from imgaudit.io.embedded_caption import (
    CaptionReading,
    EmbeddedCaption,
)
from tests.support.metadata import (
    CYRILLIC,
    FOXES,
    LATIN1,
    UTF8,
    iptc,
    read,
    resources,
    saved,
    text_of,
    with_segment,
    xmp,
)


@pytest.mark.parametrize("caption", FOXES)
@pytest.mark.parametrize("kind", ["JPEG", "MPO", "TIFF"])
def test_iptc_is_read(kind: str, caption: str) -> None:
    expected = CaptionReading(EmbeddedCaption(caption, "IPTC"), ())
    assert read(saved(kind, iptc(caption.encode(), UTF8))) == expected
    assert read(saved(kind, iptc(caption.encode()))) == expected


@pytest.mark.parametrize(
    ("caption", "charset", "expected"),
    [
        (b"caf\xe9", None, "café"),
        (b"caf\xe9", LATIN1, "café"),
        (b"caf\xc3\xa9", LATIN1, "cafÃ©"),
        (b"\x93fox\x94 \x80 5", None, "“fox” € 5"),
        ("лиса".encode("iso8859_5"), CYRILLIC, "лиса"),
        (b"caf\xe9", UTF8, "café"),
        (b"caf\xe9", b"\x1b-~", "café"),
        (b"caf\xe9", b"\x1b", "café"),
        (b"a long line \x81\x8d\x8f", None, "a long line \ufffd\ufffd\ufffd"),
        (b"\xef\xbb\xbffox", None, "fox"),
        ("Füchse und Bäume".encode()[:-4], None, "Füchse und B"),
        (b"fox\0behind", None, "fox"),
        (b" \n fox \r\n", None, "fox"),
        (b"fox " * 10_000, None, ("fox " * 10_000).strip()),
    ],
)
def test_iptc_honours_its_character_set(caption: bytes, charset: bytes | None, expected: str) -> None:
    assert text_of(saved("JPEG", iptc(caption, charset))) == expected


def test_iptc_with_swapped_bytes_is_read() -> None:
    block = iptc("Füchse".encode())
    block += bytes(-len(block) % 4)
    swapped = b"".join(block[i : i + 4][::-1] for i in range(0, len(block), 4))
    assert text_of(saved("TIFF", swapped)) == "Füchse"


@pytest.mark.parametrize(
    ("digest", "expected"),
    [
        (hashlib.md5(iptc(b"iptc")).digest(), "xmp"),
        (hashlib.md5(iptc(b"an older iptc")).digest(), "iptc"),
        (b"", "xmp"),
        (b"short", "xmp"),
    ],
)
def test_iptc_goes_before_xmp_only_where_its_digest_differs(digest: bytes, expected: str) -> None:
    packet = xmp(("x-default", "xmp"))
    jpeg = saved("JPEG", xmp=packet)
    assert text_of(with_segment(jpeg, 0xED, resources(iptc(b"iptc"), digest))) == expected
    tiff = saved("TIFF", iptc(b"iptc"), xmp=packet, resources=resources(b"", digest)[14:])
    assert text_of(tiff) == expected


def test_damaged_iptc_counts_up_to_the_damage() -> None:
    whole = iptc(b"a red fox", UTF8)
    assert text_of(saved("JPEG", whole + b"\x1c\x02\x78\x7f\xff")) == "a red fox"
    unreadable = CaptionReading(None, ("IPTC unreadable, ignored",))
    start = whole.index(b"\x1c\x02\x78")
    for cut in range(start + 1, len(whole)):
        for kind in ("JPEG", "TIFF"):
            assert read(saved(kind, whole[:cut])) == unreadable
    for block in (b"\x1d" + whole, whole.replace(b"\x1c\x02\x78", b"\x1c\x02\x78\xff\xff\xff"), b"\x1c"):
        assert read(saved("JPEG", block)) == unreadable

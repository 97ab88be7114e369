"""Files that hold no picture that is decoded are called what they are."""

import pytest

from imgaudit.exceptions import ImageError
from imgaudit.io.images import decode_image


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"<!DOCTYPE html><html><title>404 Not Found</title>", "is a web page and no image"),
        (b"\r\n<HTML><body>", "is a web page and no image"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "run `git lfs pull`"),
        (bytes(5000), "holds nothing but zeros"),
        (b"\0\0\0\x18ftypmp42" + bytes(40), "is a film"),
        (b"\0\0\0\x14ftypqt  " + bytes(40), "is a film"),
        (b"\xef\xbb\xbf<svg xmlns='a'/>", "is an SVG drawing"),
        (b"<!-- Generator: a program --><svg/>", "is an SVG drawing"),
        (b"<!DOCTYPE svg PUBLIC '-//W3C//DTD SVG 1.1//EN'><svg/>", "is an SVG drawing"),
        (b"P7\nWIDTH 2\n", "is a PAM picture"),
        (b"PF\n2 2\n-1.0\n" + bytes(48), "is a PFM picture in colour"),
        (b"PK\3\4" + bytes(40), "is a ZIP archive"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "is damaged or truncated"),
        (b"\xff\xd8\xff\xe0" + bytes(40), "is damaged or truncated"),
        (b"\0\0\0\x18ftypavif" + bytes(40), "is damaged or truncated"),
        (b"RIFF\x20\0\0\0WEBP" + bytes(8), "is damaged or truncated"),
        (b"hello", "is not an image that can be decoded (PNG"),
    ],
)
def test_the_reason_is_what_the_file_is(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError) as refusal:
        decode_image(data)
    assert reason in str(refusal.value)

"""Formats that are told by their first bytes and not decoded, so that the reason can name them."""

_STARTS = {
    b"\xff\x0a": "JPEG XL", b"\0\0\0\x0cJXL ": "JPEG XL", b"8BPS": "a Photoshop document", b"%PDF": "a PDF",
    b"%!PS": "PostScript", b"\xc5\xd0\xd3\xc6": "PostScript", b"v/1\x01": "OpenEXR", b"#?RADIANCE": "Radiance HDR",
    b"#?RGBE": "Radiance HDR", b"\0\0\1\0": "a Windows icon", b"<svg": "an SVG drawing", b"gimp xcf": "a GIMP document",
    b"II\xbc\x01": "JPEG XR", b"DDS ": "a DDS texture",
}  # fmt: skip


def name_format(data: bytes) -> str:
    """Return what a file is by its first bytes, for a sentence that begins with "is"; empty when it is not known.

    >>> name_format(b"8BPS\\0\\1"), name_format(b"hello")
    ('a Photoshop document', '')
    """
    found = next((name for start, name in _STARTS.items() if data.startswith(start)), "")
    if not found and data[:5] == b"<?xml" and b"<svg" in data[:4096]:
        return "an SVG drawing"
    return found

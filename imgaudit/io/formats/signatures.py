"""Formats that are told by their first bytes and not decoded, so that the reason can name them."""

_STARTS = {
    b"\xff\x0a": "JPEG XL", b"\0\0\0\x0cJXL ": "JPEG XL", b"8BPS": "a Photoshop document", b"%PDF": "a PDF",
    b"%!PS": "PostScript", b"\xc5\xd0\xd3\xc6": "PostScript", b"v/1\x01": "OpenEXR", b"#?RADIANCE": "Radiance HDR",
    b"#?RGBE": "Radiance HDR", b"\0\0\1\0": "a Windows icon", b"<svg": "an SVG drawing", b"gimp xcf": "a GIMP document",
    b"II\xbc\x01": "JPEG XR", b"DDS ": "a DDS texture", b"P7\n": "a PAM picture", b"PF\n": "a PFM picture in colour",
    b"\n\x05\x01\x08": "PCX", b"\x01\xda\0": "SGI", b"\x01\xda\x01": "SGI", b"farbfeld": "farbfeld",
    b"AT&TFORM": "DjVu", b"SIMPLE  =": "FITS", b"CSFCHUNK": "a Clip Studio document",
    b"\0\xffKA": "an Affinity document", b"PK\3\4": "a ZIP archive",
}  # fmt: skip

_DECODED = (
    b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"qoif", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ",
)  # fmt: skip
"""First bytes of formats that are decoded."""

HEIC_BRANDS = frozenset({b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypmsf1", b"ftyphevc", b"ftypheim", b"ftypheis"})
"""Bytes 4 to 11 of a HEIC."""

_AVIF_BRANDS = frozenset({b"ftypavif", b"ftypavis"})

_FILMS = frozenset({b"isom", b"iso2", b"iso5", b"iso6", b"mp41", b"mp42", b"qt  ", b"M4V ", b"3gp4", b"3gp5", b"avc1"})
"""Brands of MP4 and QuickTime."""


def name_format(data: bytes) -> str:
    """Return what a file is by its first bytes, for a sentence that begins with "is"; empty when it is not known.

    >>> name_format(b"8BPS\\0\\1"), name_format(b"hello")
    ('a Photoshop document', '')
    """
    found = next((name for start, name in _STARTS.items() if data.startswith(start)), "")
    start = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    if not found and start.startswith((b"<?xml", b"<!--", b"<!DOCTYPE svg", b"<svg")) and b"<svg" in start:
        return "an SVG drawing"
    if not found and data[4:8] == b"ftyp" and data[8:12] in _FILMS:
        return "a film"
    return found


def explain_no_picture(data: bytes) -> str:
    """Return why a file with a picture's name holds none, completing "the file ..."; empty where it may hold one.

    >>> explain_no_picture(b"<!doctype html><title>404"), explain_no_picture(b"8BPS")
    ('is a web page and no image: save the picture itself', '')
    """
    if data.startswith(b"version https://git-lfs"):
        return "is a pointer of git-lfs in place of the image: run `git lfs pull`"
    if data[:512].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "is a web page and no image: save the picture itself"
    if not data.strip(b"\0"):
        return "holds nothing but zeros: copy or download it again"
    is_webp, is_heif = data[:4] + data[8:12] == b"RIFFWEBP", data[4:12] in HEIC_BRANDS | _AVIF_BRANDS
    if data.startswith(_DECODED) or is_webp or is_heif:
        return "is damaged or truncated: its head names a format that is decoded, and the rest is missing or wrong"
    return ""

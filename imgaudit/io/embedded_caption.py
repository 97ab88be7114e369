"""The caption that an image file carries itself, in IPTC, XMP, EXIF or PNG text.

The file is untrusted: every field is bounded, XML is read without DTDs and entities, and damage becomes a note,
never an exception. The text is raw; :func:`imgaudit.io.captions.clean_text` makes one printable line of it.
"""

import codecs
import contextlib
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from PIL import Image
from PIL.PngImagePlugin import iTXt
from PIL.TiffImagePlugin import TiffImageFile

from imgaudit.io.iptc import iptc_is_newer, read_iptc_captions
from imgaudit.io.machine_text import is_machine_text
from imgaudit.io.metadata_bytes import MAX_FIELD_BYTES, decode_field, read_raw_profile, take_bytes
from imgaudit.io.xmp import read_xmp

MAX_CHARACTERS = 100_000
"""Longer captions are cut here."""

_IMAGE_DESCRIPTION, _EXIF_IFD, _USER_COMMENT = 0x010E, 0x8769, 0x9286
_WINDOWS_TEXTS = (0x9C9B, 0x9C9F, 0x9C9C)  # title, subject, comment
_BYTES_OR_ASCII = (1, 2, 7)  # the TIFF types BYTE, ASCII and UNDEFINED

_TOLD_APART = 16
"""Bytes from which on UTF-8 is told from UTF-16."""

_CHARSET = re.compile(r'\Acharset="?\w+"?(?:\s+|\Z)', re.IGNORECASE)

_LOST_FIELD = (
    r"Truncated File Read|Corrupt EXIF data\.  Expecting to read (2|12) bytes"
    r"|.*Skipping tag (270|34665|37510|40091|40092|40095)$"
)
"""Pillow's warnings when it leaves out a field that is read here, or all that follow a damage."""


@dataclass(frozen=True)
class EmbeddedCaption:
    """A caption from the metadata of an image file."""

    text: str
    """As written, control characters included; not blank, without NULs, at most MAX_CHARACTERS long."""
    source: str
    """Part of the file that it stood in: "IPTC", "XMP", "EXIF" or "PNG text"."""


@dataclass(frozen=True)
class CaptionReading:
    """Result of looking for a caption."""

    caption: EmbeddedCaption | None
    """None when the file carries no caption that can be read."""
    notes: tuple[str, ...]
    """Parts that could not be read on the way, in words ("XMP unreadable, ignored")."""


def read_embedded_caption(image: Image.Image) -> CaptionReading:
    """Return the first caption in XMP (dc:description), IPTC (Caption/Abstract), EXIF and PNG text (Description).

    image: as Image.open returns it. A PNG is loaded here, because its metadata may follow the pixels.
    IPTC goes before XMP only where the digest beside it says that it was changed later (`imgaudit.io.iptc`).
    In EXIF, ImageDescription goes before UserComment, and that before Windows' title, subject and comment.
    Blank and binary fields, and what machines write by themselves (`imgaudit.io.machine_text`), are passed over.
    Raises nothing, whatever the metadata holds.

    >>> import io
    >>> file, exif = io.BytesIO(), Image.Exif()
    >>> exif[0x010E] = "a red fox"
    >>> Image.new("RGB", (2, 2)).save(file, "JPEG", exif=exif)
    >>> read_embedded_caption(Image.open(file)).caption
    EmbeddedCaption(text='a red fox', source='EXIF')
    """
    notes: list[str] = []
    with warnings.catch_warnings():
        # Pillow warns about odd metadata where it does not raise.
        warnings.simplefilter("ignore")
        if image.format == "PNG":
            with contextlib.suppress(Exception):  # What stands before the damage is there all the same.
                image.load()
        for source, read in _list_fields(image):
            try:
                text = next(filter(_is_caption, map(_trim, read(image))), None)
            except Exception:
                # Pillow, expat and the codecs raise almost anything on hostile bytes; it always means "not readable".
                notes.append(f"{source} unreadable, ignored")
                continue
            if text is not None:
                return CaptionReading(EmbeddedCaption(text, source), tuple(dict.fromkeys(notes)))
    return CaptionReading(None, tuple(dict.fromkeys(notes)))


def _list_fields(image: Image.Image) -> tuple[tuple[str, Callable[[Image.Image], Iterator[str]]], ...]:
    newer = False
    with contextlib.suppress(Exception):  # A digest that cannot be read says nothing.
        newer = iptc_is_newer(image)
    iptc, xmp = ("IPTC", read_iptc_captions), ("XMP", _xmp_descriptions)
    return (
        *((iptc, xmp) if newer else (xmp, iptc)), ("EXIF", _image_description), ("EXIF", _user_comment),
        ("EXIF", _windows_texts), ("EXIF", _check_exif), ("PNG text", _png_description),
    )  # fmt: skip


def _trim(text: str) -> str:
    # A NUL ends a text, as in C: behind it lies what was in the writer's buffer.
    return text.partition("\0")[0].lstrip("\ufeff").strip()[:MAX_CHARACTERS]


def _is_caption(text: str) -> bool:
    junk = sum(character == "\ufffd" or not (character.isprintable() or character.isspace()) for character in text)
    if not text or junk * 4 > len(text):
        return False
    return not is_machine_text(text)


def _xmp_descriptions(image: Image.Image) -> Iterator[str]:
    facts = read_xmp(take_bytes(image.info.get("xmp")))
    yield from facts.descriptions
    if facts.damaged:
        raise ValueError("the XMP packet is damaged")


def _exif(image: Image.Image) -> Image.Exif:
    if isinstance(image, TiffImageFile):
        return image.getexif()
    exif = Image.Exif()
    # Cut here, which image.getexif() would not do: Pillow makes objects of all that a directory lists.
    exif.load(take_bytes(image.info.get("exif")) or read_raw_profile(image, "exif"))
    return exif


def _exif_field(image: Image.Image, tag: int) -> bytes:
    if isinstance(image, TiffImageFile) and image.tag_v2.tagtype.get(tag, 7) not in _BYTES_OR_ASCII:
        raise TypeError("expected text, but got numbers")  # Before Pillow makes objects of millions of them.
    return take_bytes(_exif(image).get(tag))


def _image_description(image: Image.Image) -> Iterator[str]:
    yield decode_field(_exif_field(image, _IMAGE_DESCRIPTION))


def _windows_texts(image: Image.Image) -> Iterator[str]:
    for tag in _WINDOWS_TEXTS:
        yield _decode_utf16(_exif_field(image, tag), "utf-16-le")


def _user_comment(image: Image.Image) -> Iterator[str]:
    exif = _exif(image)
    data = take_bytes(exif.get_ifd(_EXIF_IFD).get(_USER_COMMENT))
    code, text = data[:8].strip(b"\0 ").upper(), data[8:]
    if code == b"UNICODE":
        # Many writers use their machine's byte order instead of the file's; the file's breaks ties only.
        orders = ("utf-16-le", "utf-16-be") if exif.endian == "<" else ("utf-16-be", "utf-16-le")
        yield _decode_utf16(text, *orders, *_utf8_instead(text))
    elif code == b"JIS":
        yield _decode_jis(text)
    else:
        # Programs that copy what exiv2 prints put the name of the code before the text.
        yield _CHARSET.sub("", decode_field(text if code in {b"ASCII", b"UTF-8", b"UTF8", b""} else data))


def _utf8_instead(data: bytes) -> tuple[str, ...]:
    """Return UTF-8 as one more reading of text that is declared as UTF-16, where it is long enough to tell them apart.

    Some programs write it in spite of the declaration. Bytes of a few characters of Chinese may be letters by chance.
    """
    plain = data.rstrip(b"\0 ")
    with contextlib.suppress(UnicodeDecodeError):
        if len(plain) >= _TOLD_APART and not any(byte < 9 for byte in plain) and plain.decode("utf-8"):
            return ("utf-8",)
    return ()


def _check_exif(image: Image.Image) -> Iterator[str]:
    """Yield no text; raise UserWarning where Pillow leaves out fields of an EXIF block."""
    if not isinstance(image, TiffImageFile):  # A TIFF's are read with the file, and only once.
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=_LOST_FIELD)
            _exif(image).get_ifd(_EXIF_IFD)
    yield from ()


def _decode_utf16(data: bytes, *encodings: str) -> str:
    pairs = data[: len(data) // 2 * 2]
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return pairs.decode("utf-16", errors="replace")
    readings = ((data if name == "utf-8" else pairs).decode(name, errors="replace") for name in encodings)
    return min(map(_trim, readings), key=_count_strange)


def _count_strange(text: str) -> int:
    """Count scripts, blocks of 256 characters and unassigned characters in a text; misread text has more."""
    start = text[:1000]
    odd = sum(character == "\ufffd" or unicodedata.category(character) in {"Cc", "Cn", "Co"} for character in start)
    scripts = {unicodedata.name(character, "").split(" ")[0] for character in start if character.isalpha()}
    return odd + len(scripts) + len({ord(character) >> 8 for character in start})


def _decode_jis(data: bytes) -> str:
    """Decode JIS X 0208 with or without its escapes, or what writers take for it: EUC-JP and Shift JIS."""
    data = data.rstrip(b"\0 ")
    escaped = data if b"\x1b" in data else b"\x1b$B" + data
    # Shift JIS comes last, because it would take most EUC-JP for half-width kana.
    for candidate, encoding in ((escaped, "iso2022_jp"), (data, "euc_jp"), (data, "cp932")):
        with contextlib.suppress(UnicodeDecodeError):
            return candidate.decode(encoding)
    return decode_field(data)


def _png_description(image: Image.Image) -> Iterator[str]:
    text = image.info.get("Description") if image.format == "PNG" else None
    # Only an iTXt chunk is Unicode; others should hold Latin-1, but many hold UTF-8.
    yield str(text[:MAX_FIELD_BYTES]) if isinstance(text, iTXt) else decode_field(take_bytes(text))

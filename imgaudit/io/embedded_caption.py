"""The caption that an image file carries itself, in IPTC, XMP, EXIF or PNG text.

The file is untrusted: every field is bounded, XML is read without DTDs and entities, and damage becomes a note,
never an exception. The text is raw; :func:`imgaudit.io.captions.clean_text` makes one printable line of it.
"""

import codecs
import contextlib
import re
import struct
import unicodedata
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from defusedxml.ElementTree import XMLParser
from PIL import Image
from PIL.PngImagePlugin import iTXt
from PIL.TiffImagePlugin import TiffImageFile

MAX_CHARACTERS = 100_000
"""Longer captions are cut here."""

MAX_FIELD_BYTES = 1024 * 1024
"""No more is read of an IPTC block, an XMP packet, an EXIF block or a PNG text."""

_IMAGE_DESCRIPTION, _EXIF_IFD, _USER_COMMENT = 0x010E, 0x8769, 0x9286
_WINDOWS_TEXTS = (0x9C9B, 0x9C9F, 0x9C9C)  # title, subject, comment
_IPTC_IN_TIFF = 33723
_BYTES_OR_ASCII = (1, 2, 7)  # the TIFF types BYTE, ASCII and UNDEFINED

_BOILERPLATE = re.compile(
    r"<?(?:(?:olympus|konica minolta|minolta|samsung) )?digital camera>?|sony dsc|samsung(?: camera pictures)?"
    r"|exif_jpeg_picture|dcim(?:[\\/].*)?|created with (?:the )?gimp|screenshot|charset=\"?\w*\"?|default|untitled"
    r"|cof|edf|hdrpl|mde|oznor|rhdr"
)
"""Text that cameras and programs write by themselves, in lower case; it describes no picture."""

_LOST_FIELD = (
    r"Truncated File Read|Corrupt EXIF data\.  Expecting to read (2|12) bytes"
    r"|.*Skipping tag (270|34665|37510|40091|40092|40095)$"
)
"""Pillow's warnings when it leaves out a field that is read here, or all that follow a damage."""

_UPPER_HALVES = {
    b"A": "cp1252", b"B": "iso8859_2", b"C": "iso8859_3", b"D": "iso8859_4", b"F": "iso8859_7", b"G": "iso8859_6",
    b"H": "iso8859_8", b"L": "iso8859_5", b"M": "iso8859_9", b"T": "iso8859_11", b"V": "iso8859_10",
    b"Y": "iso8859_13", b"_": "iso8859_14", b"b": "iso8859_15", b"f": "iso8859_16",
}  # fmt: skip
"""The character set that an ISO 2022 escape with this last byte calls up."""


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
    """Return the first caption in IPTC (Caption/Abstract), XMP (dc:description), EXIF and PNG text (Description).

    image: as Image.open returns it. A PNG is loaded here, because its metadata may follow the pixels.
    In EXIF, ImageDescription goes before UserComment, and that before Windows' title, subject and comment.
    Blank and binary fields, and what cameras write by themselves ("OLYMPUS DIGITAL CAMERA"), are passed over.
    Raises nothing, whatever the metadata holds.

    >>> import io
    >>> file, exif = io.BytesIO(), Image.Exif()
    >>> exif[0x010E] = "a red fox"
    >>> Image.new("RGB", (2, 2)).save(file, "JPEG", exif=exif)
    >>> read_embedded_caption(Image.open(file)).caption
    EmbeddedCaption(text='a red fox', source='EXIF')
    """
    fields = (
        ("IPTC", _iptc_captions), ("XMP", _xmp_descriptions), ("EXIF", _image_description), ("EXIF", _user_comment),
        ("EXIF", _windows_texts), ("EXIF", _check_exif), ("PNG text", _png_description),
    )  # fmt: skip
    notes: list[str] = []
    with warnings.catch_warnings():
        # Pillow warns about odd metadata where it does not raise.
        warnings.simplefilter("ignore")
        if image.format == "PNG":
            with contextlib.suppress(Exception):  # What stands before the damage is there all the same.
                image.load()
        for source, read in fields:
            try:
                text = next(filter(_is_caption, map(_trim, read(image))), None)
            except Exception:
                # Pillow, expat and the codecs raise almost anything on hostile bytes; it always means "not readable".
                notes.append(f"{source} unreadable, ignored")
                continue
            if text is not None:
                return CaptionReading(EmbeddedCaption(text, source), tuple(dict.fromkeys(notes)))
    return CaptionReading(None, tuple(dict.fromkeys(notes)))


def _trim(text: str) -> str:
    # A NUL ends a text, as in C: behind it lies what was in the writer's buffer.
    return text.partition("\0")[0].lstrip("\ufeff").strip()[:MAX_CHARACTERS]


def _is_caption(text: str) -> bool:
    junk = sum(character == "\ufffd" or not (character.isprintable() or character.isspace()) for character in text)
    if not text or junk * 4 > len(text):
        return False
    return not _BOILERPLATE.fullmatch(" ".join(text.lower().split()))


def _take_bytes(value: object) -> bytes:
    """Return the start of a field that Pillow gives as bytes or as Latin-1 text; raises TypeError for numbers."""
    if isinstance(value, str):
        return value[:MAX_FIELD_BYTES].encode("latin-1", errors="replace")
    if isinstance(value, bytes):
        return value[:MAX_FIELD_BYTES]
    if value is None:
        return b""
    raise TypeError(f"expected text, but got {type(value).__name__}")


def _decode(data: bytes, encoding: str = "utf-8") -> str:
    """Decode text in `encoding` if it fits, else as UTF-8, else as Windows' Latin-1."""
    for attempt in (encoding, "utf-8"):
        with contextlib.suppress(UnicodeDecodeError):
            return data.decode(attempt)
    with contextlib.suppress(UnicodeDecodeError):
        # A size limit may have cut UTF-8 within its last character; Latin-1 hardly has other characters that fit.
        whole = codecs.getincrementaldecoder("utf-8")().decode(data)
        if not whole.isascii():
            return whole
    return data.decode("cp1252", errors="replace")


def _iptc_captions(image: Image.Image) -> Iterator[str]:
    encoding = "utf-8"
    for record, dataset, value in _iptc_datasets(_iptc_block(image)):
        if (record, dataset) == (1, 90):
            escapes = re.findall(rb"\x1b[,\-./](.)", value, re.DOTALL)
            encoding = next((_UPPER_HALVES[final] for final in escapes if final in _UPPER_HALVES), encoding)
        elif (record, dataset) == (2, 120):
            yield _decode(value, encoding)


def _iptc_block(image: Image.Image) -> bytes:
    if isinstance(image, TiffImageFile):
        # Often typed as 32-bit numbers, and some writers even swap their bytes; what counts is the bytes in the file.
        block = image.tag_v2._tagdata.get(_IPTC_IN_TIFF, b"")[:MAX_FIELD_BYTES]
        if block[:1] != b"\x1c" == block[3:4]:
            words = len(block) // 4
            block = struct.pack(f">{words}I", *struct.unpack_from(f"<{words}I", block))
        return block
    resources = image.info.get("photoshop")
    if isinstance(resources, dict):
        return _take_bytes(resources.get(0x0404))
    block = _raw_profile(image, "iptc")
    _, found, resource = block.partition(b"8BIM\x04\x04\0\0")
    return resource[4 : 4 + int.from_bytes(resource[:4], "big")] if found else block


def _raw_profile(image: Image.Image, name: str) -> bytes:
    """Return what ImageMagick keeps in a PNG's text: three lines of header, then hexadecimal digits."""
    text = image.info.get(f"Raw profile type {name}")
    return bytes.fromhex("".join(text[: 2 * MAX_FIELD_BYTES].split("\n")[3:])) if isinstance(text, str) else b""


def _iptc_datasets(block: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield record, dataset and value; raises ValueError or struct.error at the first damage."""
    position, end = 0, len(block.rstrip(b"\0"))
    while position < end:
        marker, record, dataset, size = struct.unpack_from(">BBBH", block, position)
        position += 5
        if size & 0x8000:  # The low bits count the bytes of the true size, which follow.
            width = min(size & 0x7FFF, 8)
            size = int.from_bytes(block[position : position + width], "big")
            position += width
        if marker != 0x1C or position + size > len(block):
            raise ValueError("the IPTC block is damaged")
        yield record, dataset, block[position : position + size]
        position += size


class _Descriptions:
    """Gathers dc:description as the parser calls it: without a tree, neither depth nor size costs much."""

    RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
    DESCRIPTION = "{http://purl.org/dc/elements/1.1/}description"
    LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"

    def __init__(self) -> None:
        self.found: list[str] = []
        self._path: list[str] = []
        self._texts: list[tuple[str, list[str]]] = []
        self._depth = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._path.append(tag)
        # Only at the top: what a picture was made from has descriptions too, nested deeper.
        top = [f"{self.RDF}RDF", f"{self.RDF}Description"]
        if self._path[-2:] == top and attributes.get(self.DESCRIPTION, "").strip():
            self.found.append(attributes[self.DESCRIPTION])
        elif self._path[-3:] == [*top, self.DESCRIPTION]:
            self._depth, self._texts = len(self._path), [("", [])]
        elif self._depth and tag == f"{self.RDF}li":
            self._texts.append((attributes.get(self.LANGUAGE, ""), []))

    def data(self, text: str) -> None:
        if self._depth:
            self._texts[-1][1].append(text)

    def end(self, _: str) -> None:
        if self._depth == len(self._path):
            default_first = sorted(self._texts, key=lambda item: item[0] != "x-default")
            self.found += [text for _, parts in default_first if (text := "".join(parts).strip())]
            self._depth = 0
        self._path.pop()


def _xmp_descriptions(image: Image.Image) -> Iterator[str]:
    packet = _take_bytes(image.info.get("xmp")).strip(b"\0 \t\r\n")
    descriptions = _Descriptions()
    parser = XMLParser(target=descriptions, forbid_dtd=True)
    try:
        for start in range(0, len(packet), 16384):
            parser.feed(packet[start : start + 16384])
            if descriptions.found:
                return
        if packet:
            parser.close()
    finally:  # Damage behind a description does not take it away.
        yield from descriptions.found


def _exif(image: Image.Image) -> Image.Exif:
    if isinstance(image, TiffImageFile):
        return image.getexif()
    exif = Image.Exif()
    # Cut here, which image.getexif() would not do: Pillow makes objects of all that a directory lists.
    exif.load(_take_bytes(image.info.get("exif")) or _raw_profile(image, "exif"))
    return exif


def _exif_field(image: Image.Image, tag: int) -> bytes:
    if isinstance(image, TiffImageFile) and image.tag_v2.tagtype.get(tag, 7) not in _BYTES_OR_ASCII:
        raise TypeError("expected text, but got numbers")  # Before Pillow makes objects of millions of them.
    return _take_bytes(_exif(image).get(tag))


def _image_description(image: Image.Image) -> Iterator[str]:
    yield _decode(_exif_field(image, _IMAGE_DESCRIPTION))


def _windows_texts(image: Image.Image) -> Iterator[str]:
    for tag in _WINDOWS_TEXTS:
        yield _decode_utf16(_exif_field(image, tag), "utf-16-le")


def _user_comment(image: Image.Image) -> Iterator[str]:
    exif = _exif(image)
    data = _take_bytes(exif.get_ifd(_EXIF_IFD).get(_USER_COMMENT))
    code, text = data[:8].strip(b"\0 ").upper(), data[8:]
    if code == b"UNICODE":
        # Many writers use their machine's byte order instead of the file's; the file's breaks ties only.
        yield _decode_utf16(text, *(("utf-16-le", "utf-16-be") if exif.endian == "<" else ("utf-16-be", "utf-16-le")))
    elif code == b"JIS":
        yield _decode_jis(text)
    else:
        yield _decode(text if code in {b"ASCII", b""} else data)


def _check_exif(image: Image.Image) -> Iterator[str]:
    """Yield no text; raise UserWarning where Pillow leaves out fields of an EXIF block."""
    if not isinstance(image, TiffImageFile):  # A TIFF's are read with the file, and only once.
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=_LOST_FIELD)
            _exif(image).get_ifd(_EXIF_IFD)
    yield from ()


def _decode_utf16(data: bytes, *byte_orders: str) -> str:
    data = data[: len(data) // 2 * 2]
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace")
    return min((_trim(data.decode(order, errors="replace")) for order in byte_orders), key=_count_strange)


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
    return _decode(data)


def _png_description(image: Image.Image) -> Iterator[str]:
    text = image.info.get("Description") if image.format == "PNG" else None
    # Only an iTXt chunk is Unicode; others should hold Latin-1, but many hold UTF-8.
    yield str(text[:MAX_FIELD_BYTES]) if isinstance(text, iTXt) else _decode(_take_bytes(text))

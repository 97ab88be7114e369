"""Files with metadata as cameras, Photoshop and others write it: IPTC, XMP and EXIF, made byte by byte."""

import io
import struct

from PIL import Image, PngImagePlugin, TiffImagePlugin

from imgaudit.io.embedded_caption import (
    CaptionReading,
    read_embedded_caption,
)
from tests.conftest import random_image

EXIF_FORMATS = ["JPEG", "MPO", "PNG", "TIFF", "WEBP", "AVIF"]
FOXES = [
    "a red fox",
    "Füchse im Schnee – “rot”",
    "Красная лиса на снегу",
    "雪地里的一只红狐狸",
    "ثعلب أحمر في الثلج",
    "🦊 e\u0301",
]
UTF8, LATIN1, CYRILLIC = b"\x1b%G", b"\x1b-A", b"\x1b-L"


def dataset(record: int, number: int, value: bytes) -> bytes:
    """An IPTC dataset, extended where its value needs it."""
    size = struct.pack(">H", len(value)) if len(value) < 0x8000 else struct.pack(">HI", 0x8004, len(value))
    return bytes((0x1C, record, number)) + size + value


def iptc(caption: bytes, charset: bytes | None = None) -> bytes:
    """An IPTC block as Photoshop orders it: the character set, then the rest."""
    envelope = dataset(1, 90, charset) if charset else b""
    return envelope + dataset(2, 0, b"\0\x04") + dataset(2, 5, b"title") + dataset(2, 120, caption)


def resources(block: bytes, digest: bytes = b"") -> bytes:
    """Photoshop's APP13 segment, with another resource before the IPTC block, and its digest behind it."""

    def resource(number: int, data: bytes) -> bytes:
        return b"8BIM" + struct.pack(">HH", number, 0) + struct.pack(">I", len(data)) + data + b"\0" * (len(data) % 2)

    return (
        b"Photoshop 3.0\0"
        + resource(0x03F3, bytes(9))
        + resource(0x0404, block)
        + (resource(0x0425, digest) if digest else b"")
    )


def with_segment(jpeg: bytes, marker: int, payload: bytes) -> bytes:
    """A JPEG with one more application segment in front."""
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload + jpeg[2:]


def xmp(*descriptions: tuple[str, str], before: str = "", inside: str = "") -> bytes:
    """An XMP packet with a dc:description in (language, text) pairs."""
    items = "".join(f'<rdf:li xml:lang="{language}">{text}</rdf:li>\n' for language, text in descriptions)
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
        f'{before}<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/">{inside}\n'
        f"<dc:description><rdf:Alt>\n{items}</rdf:Alt></dc:description>\n"
        f'</rdf:Description></rdf:RDF></x:xmpmeta>{" " * 100}<?xpacket end="w"?>'
    ).encode()


def tiff_directory(entries: list[tuple[int, int, int, bytes]], order: str = "<", start: int = 8) -> bytes:
    """A TIFF directory of (tag, type, count, value), its long values behind it; start: where it lies in the file."""
    behind = start + 2 + 12 * len(entries) + 4
    head, tail = struct.pack(order + "H", len(entries)), b""
    for tag, kind, count, value in entries:
        place = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack(order + "L", behind + len(tail))
        tail += b"" if len(value) <= 4 else value + b"\0" * (len(value) % 2)
        head += struct.pack(order + "HHL", tag, kind, count) + place
    return head + bytes(4) + tail


def exif(*fields: tuple[int, bytes], comment: bytes | None = None, order: str = "<", kind: int = 2) -> bytes:
    """An EXIF block with text fields in its first directory and a UserComment in the Exif directory."""
    entries = [(tag, kind, len(value), value) for tag, value in fields]
    if comment is None:
        body = tiff_directory(entries, order)
    else:
        size = len(tiff_directory([*entries, (0x8769, 4, 1, b"1234")], order))
        pointer = struct.pack(order + "L", 8 + size)
        body = tiff_directory([*entries, (0x8769, 4, 1, pointer)], order)
        body += tiff_directory([(0x9286, 7, len(comment), comment)], order, start=8 + size)
    return b"Exif\0\0" + {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "L", 8) + body


def saved(kind: str = "JPEG", iptc_block: bytes | None = None, **options: object) -> bytes:
    """A file of the kind with that metadata."""
    file = io.BytesIO()
    if kind == "MPO":
        options |= {"save_all": True, "append_images": [random_image(2)]}
    if kind == "PNG" and (packet := options.pop("xmp", None)):
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", packet.decode())
    if kind == "TIFF":
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        given_exif = options.pop("exif", None)
        if iptc_block is not None:
            tags[33723] = iptc_block
        if packet := options.pop("xmp", None):
            tags[700] = packet
        if block := options.pop("resources", None):
            tags[34377] = block
            tags.tagtype[34377] = 1
        if isinstance(given_exif, bytes):
            fields = Image.Exif()
            fields.load(given_exif)
            tags[0x010E] = (fields.get(0x010E) or "").encode("latin-1")
            tags.tagtype[0x010E] = 2
            if fields.get_ifd(0x8769):
                tags[0x8769] = fields.get_ifd(0x8769)
        options["tiffinfo"] = tags
    random_image(1).save(file, kind, **options)
    data = file.getvalue()
    return with_segment(data, 0xED, resources(iptc_block)) if iptc_block is not None and kind != "TIFF" else data


def read(data: bytes) -> CaptionReading:
    """What a file's bytes say, before and after the pixels are loaded: they must agree."""
    with Image.open(io.BytesIO(data)) as image:
        fresh = read_embedded_caption(image)
        image.load()
        assert read_embedded_caption(image) == fresh
    return fresh


def text_of(data: bytes) -> str | None:
    """The caption in a file that has nothing unreadable."""
    reading = read(data)
    assert reading.notes == ()
    return reading.caption.text if reading.caption else None

import hashlib
import io
import re
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin, TiffImagePlugin

from imgaudit.io.captions import clean_text
from imgaudit.io.embedded_caption import (
    MAX_CHARACTERS,
    MAX_FIELD_BYTES,
    CaptionReading,
    EmbeddedCaption,
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


@pytest.mark.parametrize("caption", FOXES)
@pytest.mark.parametrize("kind", ["JPEG", "MPO", "TIFF"])
def test_iptc_is_read(kind: str, caption: str) -> None:
    expected = CaptionReading(EmbeddedCaption(caption, "IPTC"), ())
    assert read(saved(kind, iptc(caption.encode(), UTF8))) == expected
    assert read(saved(kind, iptc(caption.encode()))) == expected


@pytest.mark.parametrize("caption", FOXES)
@pytest.mark.parametrize("kind", EXIF_FORMATS)
def test_xmp_is_read(kind: str, caption: str) -> None:
    assert read(saved(kind, xmp=xmp(("x-default", caption)))) == CaptionReading(EmbeddedCaption(caption, "XMP"), ())


@pytest.mark.parametrize("caption", FOXES)
@pytest.mark.parametrize("kind", EXIF_FORMATS)
def test_exif_is_read(kind: str, caption: str) -> None:
    expected = CaptionReading(EmbeddedCaption(caption, "EXIF"), ())
    assert read(saved(kind, exif=exif((0x010E, caption.encode() + b"\0")))) == expected
    assert read(saved(kind, exif=exif(comment=b"UNICODE\0" + caption.encode("utf-16-le")))) == expected


@pytest.mark.parametrize("caption", FOXES)
def test_png_text_is_read(caption: str) -> None:
    international, plain = PngImagePlugin.PngInfo(), PngImagePlugin.PngInfo()
    international.add_itxt("Description", caption, zip=True)
    plain.add_text("Description", caption.encode())  # Not what the standard says, but what many write.
    for info in (international, plain):
        assert read(saved("PNG", pnginfo=info)) == CaptionReading(EmbeddedCaption(caption, "PNG text"), ())
    latin = PngImagePlugin.PngInfo()
    latin.add_text("Description", "Füchse")
    assert text_of(saved("PNG", pnginfo=latin)) == "Füchse"


def test_metadata_behind_the_pixels_is_read() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    data = saved("PNG")
    end = data.rindex(b"IEND") - 4
    for tail in (chunk(b"tEXt", b"Description\0fox"), chunk(b"eXIf", exif((0x010E, b"fox\0"))[6:])):
        assert text_of(data[:end] + tail + data[end:]) == "fox"
    # Even where the pixels themselves are damaged.
    broken = data[:end] + chunk(b"tEXt", b"Description\0fox")
    with Image.open(io.BytesIO(broken.replace(b"IDAT", b"IDAT\xff", 1))) as image:
        assert read_embedded_caption(image).caption is None


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("exif", exif((0x010E, b"a red fox\0"))),
        ("iptc", iptc(b"a red fox")),
        ("iptc", resources(iptc(b"a red fox"))[14:] + b"8BIM\x04\x05"),
    ],
)
def test_imagemagicks_hexadecimal_profiles_are_read(name: str, block: bytes) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text(f"Raw profile type {name}", f"\n{name}\n    {len(block)}\n{block.hex()}\n", zip=True)
    assert text_of(saved("PNG", pnginfo=info)) == "a red fox"


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


def test_xmp_prefers_the_default_language_then_the_first() -> None:
    assert text_of(saved(xmp=xmp(("de", "Fuchs"), ("x-default", "fox"), ("fr", "renard")))) == "fox"
    assert text_of(saved(xmp=xmp(("de", "Fuchs"), ("fr", "renard")))) == "Fuchs"
    assert text_of(saved(xmp=xmp(("x-default", "  \n"), ("de", ""), ("fr", "renard")))) == "renard"
    assert text_of(saved(xmp=xmp(("x-default", "foxes &amp; &lt;hens&gt; &#x1F98A;")))) == "foxes & <hens> 🦊"


def test_xmp_is_read_in_its_other_spellings() -> None:
    plain = xmp().replace(b"<rdf:Alt>", b"").replace(b"</rdf:Alt>", b"fox")
    attribute = xmp().replace(b'rdf:about=""', b'rdf:about="" dc:description="fox"')
    attribute = attribute.replace(b" dc:description", b' xmlns:dc="http://purl.org/dc/elements/1.1/" dc:description', 1)
    attribute = attribute.replace(b'xmlns:dc="http://purl.org/dc/elements/1.1/">', b">", 1)
    prefix = xmp(("x-default", "fox")).replace(b"dc:", b"core:").replace(b":dc=", b":core=")
    for packet in (plain, attribute, prefix, b"\0\n" + prefix + b"\0\0"):
        assert text_of(saved(xmp=packet)) == "fox"
    assert text_of(saved("WEBP", xmp=xmp(("x-default", "лиса")).decode().encode("utf-16"))) == "лиса"


def test_the_description_of_an_ingredient_is_not_the_pictures() -> None:
    nested = xmp(("x-default", "a placed logo")).decode()
    inner = nested[nested.index("<rdf:Description") : nested.index("</rdf:RDF>")]
    pantry = f'<m:Pantry xmlns:m="urn:m"><rdf:Bag><rdf:li>{inner}</rdf:li></rdf:Bag></m:Pantry>'
    assert text_of(saved(xmp=xmp(("x-default", "fox"), inside=pantry))) == "fox"
    assert text_of(saved(xmp=xmp(inside=pantry))) is None


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("caption", FOXES)
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16"])
def test_a_unicode_comment_is_read_in_either_byte_order(encoding: str, caption: str, order: str) -> None:
    for code in (b"UNICODE\0", b"Unicode\0"):
        for padding in (b"", b"\0\0\0\0", b"\0"):
            comment = code + caption.encode(encoding) + padding
            assert text_of(saved(exif=exif(comment=comment, order=order))) == caption


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        (b"ASCII\0\0\0a red fox\0\0\0", "a red fox"),
        (b"ASCII\0\0\0F\xfcchse", "Füchse"),
        (b"ASCII\0\0\0" + "лиса".encode(), "лиса"),
        (bytes(8) + b"a red fox", "a red fox"),
        (b"a red fox", "a red fox"),
        (b"fox", "fox"),
        (b"JIS\0\0\0\0\0" + "赤い狐".encode("iso2022_jp"), "赤い狐"),
        (b"JIS\0\0\0\0\0" + "赤い狐".encode("iso2022_jp")[3:-3], "赤い狐"),
        (b"JIS\0\0\0\0\0" + "赤い狐が走る".encode("euc_jp"), "赤い狐が走る"),
        (b"JIS\0\0\0\0\0" + "赤い狐が走る。".encode("cp932") + b"\0", "赤い狐が走る。"),
        (b"JIS\0\0\0\0\0a red fox", "a red fox"),
        (b"UNICODE\0", None),
        (b"UNICODE\0a", None),
        (b"ASCII\0\0\0", None),
        (b"ASCII", None),
        (b"", None),
        (b"ASCII\0\0\0" + bytes(range(1, 32)) * 4, None),
        (b"\xff\xd8\xff\xe0\x01\x02\x03\x04\x05\x06\x07", None),
    ],
)
def test_a_comment_honours_its_character_code(comment: bytes, expected: str | None) -> None:
    assert text_of(saved(exif=exif(comment=comment))) == expected


def test_windows_texts_are_read() -> None:
    title, comment = (0x9C9B, "лиса 🦊\0".encode("utf-16-le")), (0x9C9C, "comment".encode("utf-16-le"))
    assert text_of(saved(exif=exif(title, comment, kind=1))) == "лиса 🦊"
    assert text_of(saved(exif=exif(comment, kind=1))) == "comment"
    assert text_of(saved(exif=exif((0x9C9F, comment[1] + b"x"), comment, kind=7))) == "comment"
    assert text_of(saved(exif=exif((0x9C9F, b"a\0\x00\xd8b\0c\0d\0"), kind=1))) == "a\ufffdbcd"


def test_the_order_is_xmp_iptc_exif_png_text() -> None:
    block = exif((0x010E, b"description\0"), comment=b"ASCII\0\0\0comment")
    everything = saved("JPEG", iptc(b"iptc"), xmp=xmp(("x-default", "xmp")), exif=block)
    assert read(everything).caption == EmbeddedCaption("xmp", "XMP")
    without_xmp = saved("JPEG", iptc(b"iptc"), xmp=xmp(("x-default", " ")), exif=block)
    assert read(without_xmp).caption == EmbeddedCaption("iptc", "IPTC")
    without_iptc = saved("JPEG", iptc(b" "), xmp=xmp(("x-default", "xmp")), exif=block)
    assert read(without_iptc).caption == EmbeddedCaption("xmp", "XMP")
    assert text_of(saved("JPEG", iptc(b""), xmp=xmp(("x-default", " \u200b")), exif=block)) == "description"
    assert text_of(saved(exif=exif((0x010E, b"\0"), comment=b"ASCII\0\0\0comment"))) == "comment"
    windows = (0x9C9B, "title".encode("utf-16-le"))
    assert text_of(saved(exif=exif(windows, comment=b"ASCII\0\0\0 \0 \0", kind=1))) == "title"
    info = PngImagePlugin.PngInfo()
    info.add_text("Description", "text")
    assert read(saved("PNG", pnginfo=info, exif=block)).caption == EmbeddedCaption("description", "EXIF")
    assert read(saved("PNG")) == CaptionReading(None, ())


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


@pytest.mark.parametrize(
    "words",
    ["OLYMPUS DIGITAL CAMERA         ", "SONY DSC", "DCIM", "DCIM\\100MEDIA\\DJI_0012.JPG", "Digital Camera", "default",
     "KONICA MINOLTA DIGITAL CAMERA", "<SAMSUNG DIGITAL CAMERA>", "Created with GIMP", "Created with The  GIMP",
     "Screenshot", "Charset=Ascii", "Exif_JPEG_PICTURE"],
)  # fmt: skip
def test_what_cameras_write_is_no_caption(words: str) -> None:
    field = (0x010E, words.encode() + b"\0")
    assert text_of(saved(exif=exif(field))) is None
    assert text_of(saved(exif=exif(field, comment=b"ASCII\0\0\0a red fox"))) == "a red fox"
    sentence = exif((0x010E, words.encode() + b" on a table\0"))
    assert "dcim\\" in words.lower() or text_of(saved(exif=sentence)) == f"{words} on a table".strip()


@pytest.mark.parametrize(
    "caption", ["{{7*7}} {% x %} ${y}", "\x1b[31mred\x1b[0m fox", "<script>alert(1)</script>", "a\tb"]
)
def test_markup_and_terminal_escapes_stay_text(caption: str) -> None:
    for data in (saved("JPEG", iptc(caption.encode())), saved(exif=exif((0x010E, caption.encode() + b"\0")))):
        text = text_of(data)
        assert text == caption
        assert "\x1b" not in clean_text(text)


def test_text_is_bounded() -> None:
    assert text_of(saved("WEBP", xmp=xmp(("x-default", "x" * 200_000)))) == "x" * MAX_CHARACTERS
    assert text_of(saved("TIFF", iptc(b"y" * 200_000))) == "y" * MAX_CHARACTERS
    assert text_of(saved("PNG", exif=exif((0x010E, b"z" * 200_000)))) == "z" * MAX_CHARACTERS


def laughs(levels: int) -> str:
    entities = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10 if i else "ha"}">' for i in range(levels))
    return f"<!DOCTYPE x [{entities}]>"


def hostile_packets(secret: Path) -> dict[str, bytes]:
    packet = xmp(("x-default", "ENTITY")).decode().split("\n", 1)[1]
    return {
        "billion laughs": (laughs(10) + packet.replace("ENTITY", "&l9;")).encode(),
        "external entity": f'<!DOCTYPE x [<!ENTITY e SYSTEM "{secret.as_uri()}">]>'.encode()
        + packet.replace("ENTITY", "&e;").encode(),
        "external DTD": f'<!DOCTYPE x SYSTEM "{secret.as_uri()}">{packet}'.encode(),
        "parameter entity": f'<!DOCTYPE x [<!ENTITY % e SYSTEM "{secret.as_uri()}"> %e;]>{packet}'.encode(),
        "undeclared entity": packet.replace("ENTITY", "&e;").encode(),
        "deep nesting": b"<a>" * 300_000,
        "deep and closed": b"<a>" * 100_000 + b"</a>" * 100_000 + b"<",
        "many elements": b"<a>" + b"<b/>" * 260_000,
        "many attributes": b"<a " + b"".join(b"x%d='' " % number for number in range(90_000)),
        "unknown encoding": b"<?xml version='1.0' encoding='rot13'?>" + packet.encode(),
        "lone surrogate": packet.replace("ENTITY", "&#xD800;").encode(),
        "not XML": b"\xff\xd8\xff",
        "half a packet": xmp(("x-default", "fox"))[:200],
    }


@pytest.mark.parametrize("name", hostile_packets(Path("/")))
@pytest.mark.parametrize("kind", ["WEBP", "TIFF"])
def test_hostile_xmp_is_ignored_and_noted(kind: str, name: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("the planted secret")
    data = saved(kind, xmp=hostile_packets(secret)[name], exif=exif((0x010E, b"a red fox\0")))
    before = time.process_time()
    reading = read(data)
    assert time.process_time() - before < 10
    assert reading == CaptionReading(EmbeddedCaption("a red fox", "EXIF"), ("XMP unreadable, ignored",))


def test_fifty_megabytes_are_not_read() -> None:
    image = Image.new("RGB", (2, 2))
    bloat = "x" * 50_000_000
    image.info["xmp"] = xmp(("x-default", "late"), before=f"<!--{bloat}-->")
    tracemalloc.start()
    try:
        assert read_embedded_caption(image) == CaptionReading(None, ("XMP unreadable, ignored",))
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_description_before_the_damage_counts() -> None:
    packet = xmp(("x-default", "a red fox"))
    assert text_of(saved(xmp=packet[: packet.index(b"</dc:description>") + 20])) == "a red fox"
    bloated = packet.replace(b"</rdf:RDF>", b"<rdf:x/>" * 1_000_000 + b"</rdf:RDF>")
    assert text_of(saved("WEBP", xmp=bloated)) == "a red fox"


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


def test_damaged_exif_is_noted() -> None:
    block = exif((0x010E, b"a red fox\0"), comment=b"ASCII\0\0\0a comment")
    assert read(saved("WEBP", exif=b"Exif\0\0XX" + block[8:])).notes == ("EXIF unreadable, ignored",)
    numbers = exif((0x010E, bytes(40))).replace(struct.pack("<HHL", 0x010E, 2, 40), struct.pack("<HHL", 0x010E, 3, 20))
    unreadable = CaptionReading(None, ("EXIF unreadable, ignored",))
    assert read(saved("PNG", exif=numbers)) == unreadable
    readings = [read(saved("PNG", exif=block[:cut])) for cut in range(16, len(block))]
    found = [reading.caption.text if reading.caption else None for reading in readings]
    whole = found.index("a red fox")
    # Nothing but the mark of the next directory may be missing without being noticed.
    assert all(reading == unreadable for reading in readings[:whole])
    assert all(reading == CaptionReading(EmbeddedCaption("a red fox", "EXIF"), ()) for reading in readings[whole:])


def test_a_tiff_of_numbers_is_not_unpacked() -> None:
    data = saved("TIFF", exif=exif((0x010E, b"x" * 8000)))
    entry, of_rationals = struct.pack("<HHL", 0x010E, 2, 8001), struct.pack("<HHL", 0x010E, 5, 1000)
    assert entry in data
    with Image.open(io.BytesIO(data.replace(entry, of_rationals))) as image:
        assert read_embedded_caption(image) == CaptionReading(None, ("EXIF unreadable, ignored",))
        assert 0x010E not in image.tag_v2._tags_v2


def test_fields_of_the_wrong_type_are_noted() -> None:
    image = Image.new("RGB", (2, 2))
    image.info |= {"xmp": 5, "exif": [1], "photoshop": {0x0404: None}}
    assert read_embedded_caption(image).notes == ("XMP unreadable, ignored", "EXIF unreadable, ignored")
    image.info |= {"photoshop": {0x0404: 7}, "xmp": "\ud800", "exif": "\ud800"}
    assert read_embedded_caption(image).caption is None


@settings(max_examples=100)
@given(st.binary(max_size=300), st.binary(max_size=300), st.binary(max_size=300), st.booleans())
def test_random_metadata_never_raises(block: bytes, fields: bytes, packet: bytes, valid_heads: bool) -> None:
    if valid_heads:
        block, fields = b"\x1c\x02\x78" + block, b"II*\0\x08\0\0\0" + fields
        packet = xmp(("x-default", packet.decode("latin-1")))
    image = Image.new("RGB", (2, 2))
    image.info |= {"photoshop": {0x0404: block}, "xmp": packet, "exif": fields}
    reading = read_embedded_caption(image)
    if reading.caption is not None:
        assert reading.caption.text.strip() and "\0" not in reading.caption.text
        reading.caption.text.encode("utf-8")


@settings(max_examples=100)
@given(st.data())
def test_flipped_bytes_never_raise(data: st.DataObject) -> None:
    image = Image.new("RGB", (2, 2))
    image.info |= {
        "photoshop": {0x0404: iptc(b" ", UTF8)},
        "xmp": xmp(("x-default", " ")),
        "exif": exif((0x010E, b"SONY DSC\0"), comment=b"UNICODE\0f\0o\0x\0"),
    }
    for holder, key in ((image.info["photoshop"], 0x0404), (image.info, "xmp"), (image.info, "exif")):
        damaged = bytearray(holder[key])
        for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), max_size=4)):
            damaged[place] = data.draw(st.integers(0, 255))
        holder[key] = bytes(damaged)
    reading = read_embedded_caption(image)
    assert all(re.fullmatch("(IPTC|XMP|EXIF) unreadable, ignored", note) for note in reading.notes)


def test_the_bound_on_fields_is_below_what_pillow_reads() -> None:
    assert MAX_FIELD_BYTES <= PngImagePlugin.MAX_TEXT_CHUNK

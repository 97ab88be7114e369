"""Captions in image files: EXIF, PNG texts, which source goes first, and what no file may do."""

import io
import re
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from imgaudit.io.captions import clean_text
from imgaudit.io.embedded_caption import (
    MAX_CHARACTERS,
    MAX_FIELD_BYTES,
    CaptionReading,
    EmbeddedCaption,
    read_embedded_caption,
)
from tests.support.metadata import (
    EXIF_FORMATS,
    FOXES,
    UTF8,
    exif,
    iptc,
    read,
    resources,
    saved,
    text_of,
    xmp,
)


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
        (b"UNICODE\0" + "ein roter Fuchs über Schnee".encode(), "ein roter Fuchs über Schnee"),
        (b"UNICODE\0a red fox in the snow\0", "a red fox in the snow"),
        (
            b"UNICODE\0" + "きれいなゆうやけだよ".encode("utf-16-be"),
            "きれいなゆうやけだよ",
        ),
        (b"UTF-8\0\0\0a red fox", "a red fox"),
        (b'charset="Ascii" a red fox', "a red fox"),
        (b"charset=Ascii", None),
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

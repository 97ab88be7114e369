"""Captions in XMP packets: their languages and spellings, and packets made to do harm."""

import time
import tracemalloc
from pathlib import Path

import pytest
from PIL import Image

from imgaudit.io.embedded_caption import (
    CaptionReading,
    EmbeddedCaption,
    read_embedded_caption,
)
from tests.support.metadata import (
    EXIF_FORMATS,
    FOXES,
    exif,
    read,
    saved,
    text_of,
    xmp,
)


@pytest.mark.parametrize("caption", FOXES)
@pytest.mark.parametrize("kind", EXIF_FORMATS)
def test_xmp_is_read(kind: str, caption: str) -> None:
    assert read(saved(kind, xmp=xmp(("x-default", caption)))) == CaptionReading(EmbeddedCaption(caption, "XMP"), ())


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

import io
import json
import struct
import zlib

import pytest
from PIL import Image, PngImagePlugin

from imgaudit.io.images import decode_image
from tests.io.test_machine_text import SETTINGS

PHOTOGRAPHED, GENERATED = (
    f"http://cv.iptc.org/newscodes/digitalsourcetype/{term}" for term in ("digitalCapture", "trainedAlgorithmicMedia")
)
CHANGED = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"


def mark(kind: str = "JPEG", texts: dict[str, str] | None = None, **options: object) -> str:
    """The sign that is found in a picture that was saved with these options and PNG texts."""
    info = PngImagePlugin.PngInfo()
    for key, text in (texts or {}).items():
        info.add_text(key, text)
    file = io.BytesIO()
    Image.effect_noise((32, 32), 90).convert("RGB").save(file, kind, **({"pnginfo": info} if texts else {}), **options)
    return decode_image(file.getvalue()).facts.made_by


def exif(**tags: str) -> Image.Exif:
    block = Image.Exif()
    numbers = {"description": 0x010E, "make": 0x010F, "model": 0x0110, "software": 0x0131}
    for name, text in tags.items():
        block[numbers[name]] = text
    return block


def packet(inside: str = "", **attributes: str) -> bytes:
    named = "".join(f' {name.replace("__", ":")}="{value}"' for name, value in attributes.items())
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
        'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"'
        f"{named}>{inside}</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


@pytest.mark.parametrize(
    "name",
    ["Stable Diffusion XL 1.0", "Stable Diffusion", "Midjourney v6", "DALL-E 3", "DALL\u00b7E 3", "Adobe Firefly 2.0",
     "ComfyUI", "NovelAI", "Fooocus v2.5.5", "FLUX.1-dev", "diffusers 0.31.0", "Google Imagen 3", "InvokeAI 5.4.1"],
)  # fmt: skip
def test_the_whole_name_of_a_generator_counts(name: str) -> None:
    assert not name.isascii() or mark(exif=exif(software=name)).startswith("software")
    assert mark("PNG", {"Software": name}).startswith("software")
    assert mark(xmp=packet(xmp__CreatorTool=name)).startswith("software")


@pytest.mark.parametrize(
    "name",
    ["Imagen AI for Lightroom Classic 4.1", "Hawkeye Firefly 8SE", "Firefly", "Reed diffusers shop 2", "Fluxbox 1.3",
     "Stable Diffusion Detector 2", "Adobe Photoshop 25.0 (Windows)", "not Midjourney", "Imagenomic Portraiture 3"],
)  # fmt: skip
def test_other_names_that_hold_a_generators_do_not_count(name: str) -> None:
    assert mark(exif=exif(software=name)) == ""
    assert mark("PNG", {"Software": name}) == ""
    assert mark(xmp=packet(xmp__CreatorTool=name)) == ""


@pytest.mark.parametrize(
    "caption",
    ["Imagen de la playa", "A firefly on a blade of grass", "Reed diffusers", "Stable Diffusion XL 1.0", "Midjourney",
     GENERATED, "trainedAlgorithmicMedia", "Steps: 2, then a castle"],
)  # fmt: skip
def test_captions_titles_and_keywords_do_not_count(caption: str) -> None:
    assert mark(exif=exif(description=caption)) == ""
    block = exif()
    block[0x9C9B] = caption.encode("utf-16-le")
    block.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + caption.encode()
    assert mark(exif=block) == ""
    assert mark("PNG", {"Description": caption, "Title": caption, "parameters": caption, "prompt": caption}) == ""
    words = "".join(
        f"<dc:{name}><rdf:Bag><rdf:li>{caption}</rdf:li></rdf:Bag></dc:{name}>"
        for name in ("description", "title", "subject")
    )
    assert mark(xmp=packet(words)) == ""
    assert mark("GIF", comment=caption.encode()) == ""


def test_the_digital_source_type_counts() -> None:
    assert mark(xmp=packet(Iptc4xmpExt__DigitalSourceType=GENERATED)) == "IPTC digital source type"
    inside = "<Iptc4xmpExt:DigitalSourceType>{}</Iptc4xmpExt:DigitalSourceType>"
    assert mark(xmp=packet(inside.format(GENERATED))) == "IPTC digital source type"
    assert mark(xmp=packet(f'<Iptc4xmpExt:DigitalSourceType rdf:resource="{GENERATED}"/>'))
    for other in (PHOTOGRAPHED, CHANGED):
        assert mark(xmp=packet(Iptc4xmpExt__DigitalSourceType=other)) == ""


def test_settings_of_generators_count() -> None:
    graph = json.dumps({"3": {"class_type": "KSampler", "inputs": {}}})
    assert mark("PNG", {"parameters": SETTINGS}) == "metadata 'parameters'"
    assert mark("PNG", {"prompt": graph}) == "metadata 'prompt'"
    assert mark("PNG", {"workflow": '{"nodes": [], "links": []}'}) == "metadata 'workflow'"
    assert mark("PNG", {"sd-metadata": "{}"}) == "metadata 'sd-metadata'"
    assert mark("PNG", {"parameters": "exposure 3", "workflow": "scan, crop", "prompt": '{"a": 1}'}) == ""
    assert mark("WEBP", exif=exif(model=f"prompt:{graph}")) == "metadata 'prompt'"
    swarm = json.dumps({"sui_image_params": {"prompt": "a castle", "steps": 20}, "sui_extra_data": {}})
    assert mark("PNG", {"parameters": swarm}) == "metadata 'parameters'"
    assert mark("PNG", {"prompt": "a castle", "use_stable_diffusion_model": "sd-v1-5"}).startswith(
        "metadata 'use_stable"
    )
    whole = json.dumps({"prompt": json.loads(graph), "extra": {}})
    for settings in (SETTINGS, swarm, graph, whole):
        for encoding in ("utf-16-be", "utf-16-le"):
            block = exif()
            block.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + settings.encode(encoding)
            assert mark(exif=block) == "settings in the user comment"


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def boxes(kind: bytes, label: bytes, *inside: bytes) -> bytes:
    """A box of boxes as C2PA has them: a description with a type and a label, then what is in it."""
    return box(b"jumb", box(b"jumd", kind.ljust(16, b"\0") + b"\x03" + label + b"\0") + b"".join(inside))


def cbor_text(text: str) -> bytes:
    data = text.encode()
    return (bytes([0x60 + len(data)]) if len(data) < 24 else bytes([0x78, len(data)])) + data


def manifest(action: str, source_type: str) -> bytes:
    actions = b"\xa1" + cbor_text("actions") + b"\x81\xa2" + cbor_text("action") + cbor_text(action)
    actions += cbor_text("digitalSourceType") + cbor_text(source_type)
    assertion = boxes(b"cbor", b"c2pa.actions.v2", box(b"cbor", actions))
    return boxes(b"c2ma", b"urn:c2pa:1", boxes(b"c2as", b"c2pa.assertions", assertion))


def credentials(kind: str, *manifests: bytes) -> str:
    """The sign that is found in a picture with these manifests, the active one last."""
    store = boxes(b"c2pa", b"c2pa", *manifests)
    file = io.BytesIO()
    Image.effect_noise((32, 32), 90).convert("RGB").save(file, kind)
    data = file.getvalue()
    if kind == "PNG":
        chunk = struct.pack(">I4s", len(store), b"caBX") + store + bytes(4)
        data = data[:33] + chunk[:-4] + struct.pack(">I", zlib.crc32(chunk[4:-4])) + data[33:]
    else:
        parts = [store[:200], *(store[:8] + store[at : at + 200] for at in range(200, len(store), 200))]
        segments = b"".join(
            struct.pack(">BBH2sHI", 0xFF, 0xEB, 10 + len(part), b"JP", 1, number) + part
            for number, part in enumerate(parts, 1)
        )
        data = data[:2] + segments + data[2:]
    return decode_image(data).facts.made_by


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_active_manifest_of_c2pa_counts(kind: str) -> None:
    generated, photographed = manifest("c2pa.created", GENERATED), manifest("c2pa.created", PHOTOGRAPHED)
    assert credentials(kind, generated) == "C2PA digital source type"
    assert credentials(kind, photographed) == ""
    assert credentials(kind, generated, photographed) == ""
    assert credentials(kind, photographed, generated) == "C2PA digital source type"
    assert credentials(kind, manifest("c2pa.edited", GENERATED)) == ""
    assert credentials(kind, b"\0\0\0\x01jumb") == ""

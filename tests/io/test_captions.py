from pathlib import Path

import pytest

from imgaudit.io.captions import MAX_CHARACTERS, CaptionSource, Texts, clean_text
from imgaudit.io.images import ImageFacts


def facts(caption: str = "") -> ImageFacts:
    return ImageFacts(
        sha256="0" * 64, byte_count=1, width=1, height=1, notes=(), caption=caption, caption_source="IPTC"
    )


def test_captions_come_from_table_then_sidecar_then_metadata_then_the_file(tmp_path: Path) -> None:
    a, b = tmp_path / "a.png", tmp_path / "b.png"
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "from metadata"}\n')
    found = CaptionSource(tmp_path).fit([a, b])
    assert found.find(a, facts("own")).texts == ["from metadata"]
    assert found.find(b).texts == [] and found.find(b, facts("own")).texts == ["own"]
    assert found.find(b, facts("own")).source == "the image's own IPTC"
    (tmp_path / "a.txt").write_text("from sidecar\n")
    assert found.find(a).texts == ["from sidecar"]
    (tmp_path / "a.txt").rename(tmp_path / "a.TXT")
    assert found.find(a).texts == ["from sidecar"]
    (tmp_path / "given.csv").write_text("file_name,caption\na.png,from the table\n")
    assert CaptionSource(tmp_path, tmp_path / "given.csv").fit([a]).find(a).texts == ["from the table"]
    assert CaptionSource(tmp_path, sidecars=False).fit([a]).find(a, facts("own")).texts == []


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("\ufeffna\u00efve".encode(), "na\u00efve"),
        ("na\u00efve".encode("utf-16"), "na\u00efve"),
        ("na\u00efve".encode("cp1252"), "na\u00efve"),
    ],
    ids=["utf-8 with mark", "utf-16", "cp1252"],
)
def test_sidecars_are_read_in_the_encodings_that_editors_write(data: bytes, text: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    assert CaptionSource(tmp_path).fit([]).find(tmp_path / "a.png").texts == [text]


def test_text_is_one_bounded_line_without_control_characters() -> None:
    assert clean_text("a\x1b[31mred\x00\n\tb\u202ec") == "a[31mred b c"
    assert len(clean_text("x" * 1_000_000)) == MAX_CHARACTERS


XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:description><rdf:Alt>'
    '<rdf:li xml:lang="de">ein Fuchs</rdf:li><rdf:li xml:lang="x-default">{}</rdf:li>'
    "</rdf:Alt></dc:description></rdf:Description></rdf:RDF></x:xmpmeta>"
)


def find_own(folder: Path) -> Texts:
    path = folder / "photo.jpg"
    return CaptionSource(folder).fit([path]).find(path)


def test_xmp_sidecars_are_read(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    (tmp_path / "metadata.csv").write_text("file_name,text\nphoto.jpg,from the table\n")
    assert find_own(tmp_path).texts == ["from the table"]
    (tmp_path / "photo.xmp").write_text(XMP.format("a fox"))
    assert find_own(tmp_path) == Texts(["a fox"], "the XMP sidecar file")
    (tmp_path / "photo.jpg.xmp").write_bytes(XMP.format("a red fox").encode("utf-16"))
    assert find_own(tmp_path).texts == ["a red fox"]
    (tmp_path / "photo.jpg.xmp").rename(tmp_path / "photo.jpg.XMP")
    assert find_own(tmp_path).texts == ["a red fox"]
    (tmp_path / "photo.txt").write_text("from the text file")
    assert find_own(tmp_path).texts == ["from the text file"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "<x",
        '<!DOCTYPE x [<!ENTITY a "b">]>' + XMP.format("&a;"),
        XMP.format("OLYMPUS DIGITAL CAMERA").replace("ein Fuchs", "SONY DSC"),
        "<a>" * 50_000,
    ],
)
def test_a_sidecar_that_says_nothing_or_attacks_is_passed_over(content: str, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg.xmp").write_text(content)
    (tmp_path / "photo.xmp").symlink_to(tmp_path / "elsewhere.xmp")
    (tmp_path / "elsewhere.xmp").write_text(XMP.format("a fox"))
    assert find_own(tmp_path).texts == []


def test_data_sets_keep_a_table_for_each_split(tmp_path: Path) -> None:
    names = ("a.png", "train/a.png", "train/deep/b.png", "test/a.png", "broken/a.png")
    images = [tmp_path / name for name in names]
    for path in images:
        path.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "metadata.csv").write_text("file_name,text\na.png,root\ntest/a.png,outer\n")
    (tmp_path / "train" / "metadata.jsonl").write_text(
        '{"file_name": "a.png", "text": "one"}\n{"file_name": "deep/b.png", "text": "two"}\n'
    )
    (tmp_path / "test" / "metadata.csv").write_text("file_name,caption\na.png,inner\n")
    (tmp_path / "broken" / "metadata.csv").write_text("words\nfox\n")
    texts = CaptionSource(tmp_path).fit(images)
    found = {name: "".join(texts.find(path).texts) for name, path in zip(names, images, strict=True)}
    assert found == {"a.png": "root", "train/a.png": "one", "train/deep/b.png": "two", "test/a.png": "inner",
                     "broken/a.png": ""}  # fmt: skip
    [remark] = texts.remarks
    assert remark.startswith("'broken/metadata.csv' is not used: metadata.csv, line 2: expected a name")


def test_settings_beside_an_image_are_no_caption(tmp_path: Path) -> None:
    (tmp_path / "photo.txt").write_text("a castle\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1")
    (tmp_path / "metadata.ndjson").write_text('{"file_name": "photo.jpg", "caption": "a fox"}\n')
    assert find_own(tmp_path).texts == ["a fox"]

from pathlib import Path

import pytest

from imgaudit.exceptions import InputError
from imgaudit.io.captions import MAX_CHARACTERS, CaptionSource, clean_text
from imgaudit.io.images import ImageFacts
from imgaudit.io.tables import assign_texts, read_table


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
    (tmp_path / "given.csv").write_text("file_name,caption\na.png,from the table\n")
    assert CaptionSource(tmp_path, tmp_path / "given.csv").fit([a]).find(a).texts == ["from the table"]
    assert CaptionSource(tmp_path, sidecars=False).fit([a]).find(a, facts("own")).texts == []


def test_a_name_belongs_to_one_image_or_to_none(tmp_path: Path) -> None:
    images = [tmp_path / name for name in ("a.png", "x/a.png", "x/b.png", "y/b.png", "caf\u00e9.png")]
    table = {"a.png": ["root"], "b.png": ["which?"], "y/b.png": ["y"], "cafe\u0301.png": ["typed"], "none.png": ["-"]}
    found, remarks = assign_texts(table, "t.csv", tmp_path, images)
    assert {path.relative_to(tmp_path).as_posix(): texts for path, texts in found.items()} == {
        "a.png": ["root"], "y/b.png": ["y"], "caf\u00e9.png": ["typed"],
    }  # fmt: skip
    assert ["1 of 5 names are no image here (first: 'none.png')" in remarks[0], "fit several" in remarks[1]] == [
        True
    ] * 2
    with pytest.raises(InputError, match="none of its 1 names is an image"):
        assign_texts({"z.png": ["-"]}, "t.csv", tmp_path, images, strict=True)


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


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "picture,words\nx.png,y\n", "expected a name in one of"),
        ("a.jsonl", "{broken\n", "line 1: is not JSON"),
        ("a.jsonl", "[1]\n", "expected a JSON object"),
        ("a.csv", "file_name,text\nx.png,1\nx.png,2\n", "occurs twice"),
    ],
)
def test_a_wrong_table_says_what_was_expected(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_table(tmp_path / name)


def test_a_table_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"file_name,text\na.png,caf\xe9\n")
    with pytest.raises(InputError, match="cannot be read as UTF-8"):
        read_table(tmp_path / "a.csv")


def test_text_is_one_bounded_line_without_control_characters() -> None:
    assert clean_text("a\x1b[31mred\x00\n\tb\u202ec") == "a[31mred b c"
    assert len(clean_text("x" * 1_000_000)) == MAX_CHARACTERS

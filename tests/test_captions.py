from pathlib import Path

import pytest

from imgaudit.captions import MAX_CHARACTERS, CaptionSource, clean_text, read_table
from imgaudit.exceptions import InputError


def test_captions_come_from_table_then_sidecar_then_metadata(tmp_path: Path) -> None:
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "from metadata"}\n')
    source = CaptionSource(tmp_path)
    assert source.find(tmp_path / "a.png") == ["from metadata"]
    assert source.find(tmp_path / "b.png") == []
    (tmp_path / "a.txt").write_text("from sidecar\n")
    assert source.find(tmp_path / "a.png") == ["from sidecar"]
    (tmp_path / "given.csv").write_text("file_name,caption\na.png,from the table\n")
    assert CaptionSource(tmp_path, tmp_path / "given.csv").find(tmp_path / "a.png") == ["from the table"]
    assert CaptionSource(tmp_path, sidecars=False).find(tmp_path / "a.png") == []


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
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(InputError, match="cannot be read as UTF-8"):
        read_table(tmp_path / "a.csv")


def test_text_is_one_bounded_line_without_control_characters() -> None:
    assert clean_text("a\x1b[31mred\x00\n\tb\u202ec") == "a[31mred b c"
    assert len(clean_text("x" * 1_000_000)) == MAX_CHARACTERS

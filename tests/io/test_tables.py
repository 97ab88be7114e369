"""Tables of captions and prompts from strangers, fitted to images or refused with the line that is wrong."""

from pathlib import Path

import pytest

from imgaudit.exceptions import InputError
from imgaudit.io import tables
from imgaudit.io.tables import MAX_TEXTS, assign_texts, read_captions, read_prompts


def test_a_name_belongs_to_one_image_or_to_none(tmp_path: Path) -> None:
    images = [tmp_path / name for name in ("a.png", "x/a.png", "x/b.png", "y/b.png", "caf\u00e9.png")]
    table = {"a.png": ["root"], "b.png": ["which?"], "y/b.png": ["y"], "cafe\u0301.png": ["typed"], "none.png": ["-"]}
    found, remarks = assign_texts(table, "t.csv", tmp_path, images)
    assert {path.relative_to(tmp_path).as_posix(): texts for path, texts in found.items()} == {
        "a.png": ["root"], "y/b.png": ["y"], "caf\u00e9.png": ["typed"],
    }  # fmt: skip
    assert ["1 of 5 names are no image here (such as 'none.png')" in remarks[0], "fit several" in remarks[1]] == [
        True
    ] * 2
    with pytest.raises(InputError, match="none of its 1 names is an image"):
        assign_texts({"z.png": ["-"]}, "t.csv", tmp_path, images, strict=True)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "picture,words\nx.png,y\n", "expected a name in one of"),
        ("a.csv", "file_name,text\nx.png,1\nx.png,2\n", "occurs twice"),
        ("a.csv", "file_name,text,text\nx.png,1,2\n", "a column occurs twice"),
        ("a.csv", 'file_name,text\nx.png,"1\n', "is not CSV"),
        ("a.csv", "file_name,text\n../x.png,1\n", "is outside the folder"),
        ("a.jsonl", "{broken\n", "line 1: is not JSON"),
        ("a.jsonl", "[1]\n", "expected a JSON object"),
        ("a.jsonl", '{"file_name": "a", "text": "b", "text": "c"}\n', "a key occurs twice"),
        ("a.json", '[{"file_name": "a", "text": "b"}]', "is no table of captions: expected .csv"),
        ("a.xlsx", "PK", "is no table of captions"),
        ("a.JSONL", "\n{broken\n", "line 2: is not JSON"),
        ("a.jsonl", '{"file_name": "a", "text": ["b"]}\n', "expected a name and a text, but got str and list"),
    ],
)
def test_a_wrong_table_says_what_was_expected(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_captions(tmp_path / name)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'file_name,text,prompt\r\na.png,"caf\u00e9\nred",fox\r\n'),
        ("a.ndjson", '\n{"file_name": "a.png", "text": "caf\\u00e9\\nred", "prompt": "fox"}\n'),
    ],
)
def test_both_formats_are_read_in_every_unicode_encoding(
    name: str, content: str, encoding: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content.encode(encoding))
    assert read_captions(tmp_path / name) == {"a.png": ["caf\u00e9\nred"]}
    [prompt] = read_prompts(tmp_path / name)
    assert prompt.text == "fox" and prompt.columns == {"file_name": "a.png", "text": "caf\u00e9\nred"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "file_name;text\r\na.png;a fox, red\r\n"),
        ("a.csv", '"File_Name"\t"Text"\na.png\ta fox, red\n'),
        ("a.tsv", "text\tfilename\na fox, red\ta.png\n"),
        ("a.csv", 'file_name, text\na.png,"a fox, red"\n'),
        ("a.jsonl", '{"file_name": "a.png", "text": null, "caption": "a fox, red"}\n'),
        ("a.jsonl", '{"file_name": "a.png", "text": "", "Prompt": "a fox, red"}\n'),
    ],
)
def test_tables_are_read_as_spreadsheets_and_data_sets_write_them(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    assert read_captions(tmp_path / name) == {"a.png": ["a fox, red"]}
    assert [one.text for one in read_prompts(tmp_path / name)] == ["a fox, red"]


def test_a_row_without_a_text_is_an_image_without_a_caption(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"file_name": "a.png", "text": null}\n{"file_name": "b.png", "text": "fox"}\n')
    assert read_captions(tmp_path / "a.jsonl") == {"a.png": [""], "b.png": ["fox"]}


def test_a_name_from_the_folder_on_is_the_same_name(tmp_path: Path) -> None:
    images = [tmp_path / "a.png", tmp_path / "x" / "a.png"]
    found, remarks = assign_texts({"./a.png": ["root"], "x\\a.png": ["x"]}, "t.csv", tmp_path, images)
    assert found == {images[0]: ["root"], images[1]: ["x"]} and remarks == []


def test_a_table_of_latin_bytes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"file_name,text\na.png,caf\xe9\n")
    with pytest.raises(InputError, match="cannot be read as UTF-8"):
        read_captions(tmp_path / "a.csv")


def test_zero_bytes_stay_in_the_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"file_name,text\na.png,a\0b\n")
    assert read_captions(tmp_path / "a.csv") == {"a.png": ["a\0b"]}


def test_an_empty_table_holds_nothing(tmp_path: Path) -> None:
    for name in ("a.csv", "a.jsonl"):
        (tmp_path / name).touch()
        assert read_captions(tmp_path / name) == {}
        with pytest.raises(InputError, match="has no prompt"):
            read_prompts(tmp_path / name)


def test_tables_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "huge.csv").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(InputError, match=r"the table '.*huge.csv' has 1,099,511,627,776 bytes; at most"):
        read_captions(tmp_path / "huge.csv")
    (tmp_path / "a.csv").write_text("file_name,text\n" + "a.png,x\n" * (MAX_TEXTS + 1))
    with pytest.raises(InputError, match=f"has more than {MAX_TEXTS} texts"):
        read_captions(tmp_path / "a.csv", several=True)
    monkeypatch.setattr(tables, "MAX_PROMPTS", 2)
    (tmp_path / "p.txt").write_text("a\n\nb\r\nc\x0cd\n")
    with pytest.raises(InputError, match="has 3 prompts; at most 2 are read"):
        read_prompts(tmp_path / "p.txt")

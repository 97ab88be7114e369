"""JSON that is read in pieces is what `json.loads` gives, wherever a piece ends; what is no JSON is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from imgaudit.exceptions import RunFolderError
from imgaudit.io import json_stream
from imgaudit.io.json_stream import format_list, read_json_in_pieces
from imgaudit.io.writing import format_json

LIST = [{"x": 'é\u2028"]}', "y": [1, -2.5e-7, None]}, "[", [], 12345]

CONTENT = {"a": 1, "list": LIST, "empty": [], "last": {"b": True}}


def read(path: Path, names: tuple[str, ...] = ("list", "empty")) -> Any:
    """Read a file in pieces, and put the elements back into their lists."""
    lists: dict[str, list[Any]] = {name: [] for name in names}
    value = read_json_in_pieces(path, {name: found.append for name, found in lists.items()})
    return value | {name: found for name, found in lists.items() if found} if isinstance(value, dict) else value


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 2**18])
def test_what_is_read_is_the_same_wherever_a_piece_ends(
    chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_stream, "CHUNK", chunk)
    path = tmp_path / "a.json"
    for text in (
        json.dumps(CONTENT), format_json(CONTENT), json.dumps(CONTENT, ensure_ascii=False, separators=(",", ":")),
        "{}", " [1, 2] ", "12", '{"list": 5, "a": [1]}', '{"a": 1, "a": 2}',
    ):  # fmt: skip
        path.write_text(text, encoding="utf-8")
        assert read(path) == json.loads(text)


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"list": [1', '{"list": [1,]}', '{"list": [1 2]}', '{"a": 1,}', "{a: 1}", '{"a" 1}', '{"a": 1} 2',
     "\ufeff{}", '{"list": [1], "list": [2]}', '{"list": [1], "list": 2}', '{"list": [nul]}'],
)  # fmt: skip
def test_what_is_no_json_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RunFolderError, match=r"a\.json' cannot be read"):
        read(path)


def test_files_that_are_too_large_no_text_or_not_there_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(RunFolderError, match="cannot be opened"):
        read(path)
    path.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(RunFolderError, match="cannot be read"):
        read(path)
    path.write_text("[" * 200_000)
    with pytest.raises(RunFolderError, match="cannot be read"):
        read(path)
    path.write_text(json.dumps(list(range(100))))
    with pytest.raises(RunFolderError, match="at most 50 are read"):
        read_json_in_pieces(path, {}, limit=50)


def test_a_list_is_written_as_it_would_be_in_one() -> None:
    pieces = "".join(format_list("list", map(format_json, LIST)))
    assert "{\n" + pieces + "\n}\n" == format_json({"list": LIST})
    assert "{\n" + "".join(format_list("list", [])) + "\n}\n" == format_json({"list": []})

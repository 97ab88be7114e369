"""Lists of names that belong to vectors, in every format; each damaged one is refused with its line."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imgaudit.exceptions import InputError
from imgaudit.index.id_lists import LINE, count_ids, read_id_list
from imgaudit.index.names import Name


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    ("name", "content", "paths"),
    [
        ("ids.txt", "caf\u00e9\r\n7\n", ["", ""]),
        ("ids.csv", "path,id\na.png,caf\u00e9\n,7\n", ["a.png", ""]),
        ("ids.jsonl", '{"id": "caf\u00e9", "path": "a.png"}\n\n{"id": 7}\n', ["a.png", ""]),
    ],
)
def test_names_are_read_in_every_format(
    name: str, content: str, paths: list[str], encoding: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content.encode(encoding))
    assert list(read_id_list(tmp_path / name)) == [Name("caf\u00e9", paths[0]), Name("7", paths[1])]
    assert count_ids(tmp_path / name) == 2


def test_names_are_read_from_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1, 2], "path": ["a", None]}), tmp_path / "ids.parquet")
    assert list(read_id_list(tmp_path / "ids.parquet")) == [Name("1", "a"), Name("2", "")]
    pq.write_table(pa.table({"name": [1]}), tmp_path / "other.parquet")
    with pytest.raises(InputError, match="has no column 'id'"):
        count_ids(tmp_path / "other.parquet")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("ids.csv", b"name\na\n", "has no 'id' in line 2, but the columns \\['name'\\]"),
        ("ids.csv", b'id\n"a\n', "is not CSV"),
        ("ids.jsonl", b'{"id": 1}\n{"path": "a"}\n', "has no 'id' in line 2"),
        ("ids.jsonl", b"[1]\n", "line 1: expected a JSON object"),
        ("ids.jsonl", b"[" * 10_000 + b"\n", "line 1: is not JSON"),
        ("ids.txt", b"caf\xe9\n", "cannot be read: .*; save it as UTF-8"),
        ("ids.txt", b"x" * (LINE + 1), "has more than 131,072 characters in line 1"),
        ("ids.xml", b"", "must end with"),
    ],
)
def test_a_wrong_list_says_what_was_expected(name: str, data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message):
        count_ids(tmp_path / name)
    with pytest.raises(InputError, match="is not a regular file"):
        count_ids(tmp_path / "none.txt")

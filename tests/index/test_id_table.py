"""Names of vectors in a mapped file: looked up by row, and refused where they are damaged."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgaudit.exceptions import IndexRefusedError
from imgaudit.index.id_table import IdTable, IdTableWriter
from imgaudit.index.names import Name, Names

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=["\0"]), max_size=20).filter(
    lambda value: ".." not in value
)


@settings(max_examples=50)
@given(names=st.lists(st.tuples(text, text), min_size=1, max_size=20), data=st.data())
def test_any_names_come_back_from_an_id_table(
    tmp_path_factory: pytest.TempPathFactory, names: list[tuple[str, str]], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("names") / "ids.bin"
    writer = IdTableWriter(path)
    writer.append(Names.of(Name(*name) for name in names))
    writer.close()
    rows = data.draw(st.lists(st.integers(0, len(names) - 1), max_size=30))
    with IdTable(path) as table:
        table.check()
        assert len(table) == len(names)
        assert [tuple(name) for name in table.look_up(np.array(rows, np.int64))] == [names[row] for row in rows]


def test_an_id_table_is_written_in_blocks_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    names = [Name(f"a/{row}" if row % 7 else f"ä/{row}", "" if row % 2 else "p") for row in range(20_000)]
    writer = IdTableWriter(tmp_path / "ids.bin")
    for start in range(0, len(names), 3_000):
        writer.append(Names.of(names[start : start + 3_000]))
    writer.append(Names([], []))
    writer.close()
    assert [path.name for path in tmp_path.iterdir()] == ["ids.bin"]
    with IdTable(tmp_path / "ids.bin") as table:
        table.check()
        assert list(table.look_up(np.arange(20_000))) == names
        assert list(table.look_up(np.array([8, 1, 8]))) == [names[8], names[1], names[8]]
        assert len(table.look_up(np.array([], np.int64))) == 0


def test_an_id_table_with_offsets_out_of_order_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ids.bin"
    writer = IdTableWriter(path)
    writer.append(Names.of([Name("abc", "def"), Name("ghi", "jkl")]))
    writer.close()
    data = path.read_bytes()
    spoilt = tmp_path / "spoilt.bin"
    spoilt.write_bytes(data[:-24] + np.array([2**63, 3, 12], "<u8").tobytes())
    with IdTable(spoilt) as table, pytest.raises(IndexRefusedError, match="offsets out of order"):
        table.check()
    with IdTable(spoilt) as table, pytest.raises(IndexRefusedError, match="offsets out of order"):
        table.look_up(np.array([1]))
    spoilt = tmp_path / "not text.bin"
    spoilt.write_bytes(data.replace(b"abc", b"\xff\xfe\xfd"))
    with IdTable(spoilt) as table, pytest.raises(IndexRefusedError, match="not UTF-8"):
        table.look_up(np.array([0]))
    spoilt.write_bytes(data.replace(b"imgaudit ids 1", b"imgaudit ids 9"))
    with pytest.raises(IndexRefusedError, match="something else"):
        IdTable(spoilt)

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imgaudit.exceptions import InputError
from imgaudit.io import parquet_rows
from imgaudit.io.captions import CaptionSource
from imgaudit.io.tables import read_captions, read_prompts


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "metadata.parquet"
    columns = {"file_name": ["a.png", "b.png"], "caption": ["a fox", "a dog"], "score": [0.5, 1.0]}
    pictures = pa.array([{"bytes": b"x", "path": None}] * 2)
    pq.write_table(pa.table(columns | {"image": pictures}), path)
    return path


def test_texts_are_read_without_pictures(table: Path) -> None:
    assert read_captions(table) == {"a.png": ["a fox"], "b.png": ["a dog"]}
    assert [one.text for one in read_prompts(table)] == ["a fox", "a dog"]
    assert read_prompts(table)[0].columns == {"file_name": "a.png", "score": 0.5}
    image = table.parent / "b.png"
    assert CaptionSource(table.parent).fit([image]).find(image).texts == ["a dog"]


def test_what_is_too_large_or_no_table_is_refused(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_rows, "MAX_ROWS", 1)
    with pytest.raises(InputError, match=r"the table 'metadata.parquet' has 2 rows of .* too much"):
        read_captions(table)
    monkeypatch.setattr(parquet_rows, "MAX_ROWS", 2)
    monkeypatch.setattr(parquet_rows, "MAX_UNPACKED_BYTES", 10)
    with pytest.raises(InputError, match="too much"):
        read_captions(table)
    table.write_bytes(table.read_bytes()[:-20])
    with pytest.raises(InputError, match="is not a Parquet table"):
        read_captions(table)


@pytest.mark.parametrize("column", ["prompt", "text", "caption"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "ndjson"])
def test_prompts_go_by_the_names_of_captions(column: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"p.{suffix}"
    path.write_text(f"{column},n\na fox,1\n" if suffix == "csv" else f'{{"{column}": "a fox", "n": 1}}\n')
    [found] = read_prompts(path)
    assert found.text == "a fox" and list(found.columns) == ["n"]

"""Files of our own: whole or not there, and read back with a check."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from imgaudit.exceptions import ImageError, RunFolderError
from imgaudit.io import writing
from imgaudit.io.writing import (
    append_lines,
    decode_png,
    format_csv,
    format_json,
    read_json,
    read_line,
    read_png,
    write_atomically,
    write_json,
    write_png,
)
from tests.conftest import random_image


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "a.txt"
    write_atomically(path, "caf\u00e9")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("no room")))
    with pytest.raises(OSError, match="no room"):
        write_atomically(path, "other")
    assert path.read_bytes() == "caf\u00e9".encode()


def test_json_has_no_nan_and_says_which_file_is_damaged(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"\u00e9": [1]})
    assert read_json(tmp_path / "a.json") == {"\u00e9": [1]}
    assert (tmp_path / "a.json").read_text("utf-8") == format_json({"\u00e9": [1]})
    with pytest.raises(ValueError, match="not JSON compliant"):
        format_json(float("nan"))
    for content in (b"{", b"[" * 100_000, b"\xff"):
        (tmp_path / "a.json").write_bytes(content)
        with pytest.raises(RunFolderError, match=r"a\.json' cannot be read"):
            read_json(tmp_path / "a.json")


def test_rows_may_lack_columns_but_have_no_others() -> None:
    assert format_csv([], ["id"]) == "id\n"
    assert format_csv([{"a": 'x"y'}, {"b": "1\n2"}], ["a", "b"]) == 'a,b\n"x""y",\n,"1\n2"\n'
    with pytest.raises(ValueError, match="fields not in fieldnames"):
        format_csv([{"c": 1}], ["a"])


def test_lines_are_appended_behind_half_a_line_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    append_lines(path, [])
    assert not path.exists()
    append_lines(path, [{"a": 1}])
    with path.open("ab") as file:
        file.write(b'{"a": 2, "ch')
    append_lines(path, [{"a": 3}])
    assert [read_line(line) for line in path.read_bytes().splitlines()] == [{"a": 1}, None, {"a": 3}]
    changed = json.loads(path.read_bytes().splitlines()[0]) | {"a": 9}
    assert read_line(json.dumps(changed).encode()) is None


def test_a_png_is_read_back_and_refused_when_it_is_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = random_image(1)
    write_png(tmp_path / "a.png", image)
    assert read_png(tmp_path / "a.png").tobytes() == image.tobytes()
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG")
    whole = (tmp_path / "a.png").read_bytes()
    for data in (b"", jpeg.getvalue(), whole[: len(whole) // 2]):
        with pytest.raises(ImageError, match="is damaged"):
            decode_png(data)
    (tmp_path / "a.png").write_bytes(b"no image")
    for name in ("a.png", "none.png"):
        with pytest.raises(RunFolderError, match=rf"{name}' is missing or damaged"):
            read_png(tmp_path / name)
    monkeypatch.setattr(writing, "MAX_PNG_PIXELS", 3)
    write_png(tmp_path / "b.png", Image.new("RGB", (2, 2)))
    with pytest.raises(ImageError, match="has 2 x 2 pixels; at most 3 are read"):
        decode_png((tmp_path / "b.png").read_bytes())
    monkeypatch.setattr(writing, "MAX_PNG_BYTES", 10)
    with pytest.raises(RunFolderError, match=r"b.png' is missing or damaged: has \d+ bytes; at most 10 are read"):
        read_png(tmp_path / "b.png")

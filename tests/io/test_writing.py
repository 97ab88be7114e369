"""Files of our own: whole or not there, and read back with a check."""

import io
import json
import os
from pathlib import Path

import pytest
from PIL import Image

from imgaudit.exceptions import ImageError, RunFolderError
from imgaudit.io import writing
from imgaudit.io.containment import OpenFolder
from imgaudit.io.reading import hash_file
from imgaudit.io.writing import (
    UNFINISHED,
    append_lines,
    decode_png,
    format_csv,
    format_json,
    read_json,
    read_line,
    read_lines,
    read_png,
    remove_unfinished,
    write_atomically,
    write_json,
    write_png,
)
from tests.conftest import random_image


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "a.txt"
    write_atomically(path, "caf\u00e9")
    monkeypatch.setattr(OpenFolder, "replace", lambda *_: (_ for _ in ()).throw(OSError("no room")))
    with pytest.raises(OSError, match="no room"):
        write_atomically(path, "other")
    assert path.read_bytes() == "caf\u00e9".encode() and list(path.parent.iterdir()) == [path]


def test_what_can_be_made_again_is_left_where_it_is_the_same(tmp_path: Path) -> None:
    path, other = tmp_path / "a.html", tmp_path / "b.html"
    write_atomically(path, "<p>caf\u00e9", durable=False)
    before = path.stat()
    write_atomically(path, "<p>caf\u00e9", durable=False)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    write_atomically(path, "<p>caf\u00e8", durable=False)
    assert path.read_text("utf-8") == "<p>caf\u00e8" and path.stat().st_ino != before.st_ino
    # Whoever has the other name could change the content later: the page gets a file of its own.
    os.link(path, other)
    write_atomically(path, "<p>caf\u00e8", durable=False)
    assert path.stat().st_nlink == other.stat().st_nlink == 1 and path.read_bytes() == other.read_bytes()
    path.unlink()
    path.symlink_to(other)
    write_atomically(path, "<p>caf\u00e8", durable=False)
    assert not path.is_symlink() and path.read_bytes() == other.read_bytes()
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        write_atomically(tmp_path / "folder", "", durable=False)


def test_the_name_of_a_file_being_written_is_new_every_time_and_never_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    replace = OpenFolder.replace

    def note(folder: OpenFolder, name: str, new: str) -> None:
        seen.append(name)
        replace(folder, name, new)

    monkeypatch.setattr(OpenFolder, "replace", note)
    (tmp_path / "stranger.txt").write_text("theirs", encoding="utf-8")
    (tmp_path / ".a.txt.partial").symlink_to(tmp_path / "stranger.txt")
    for _ in range(2):
        write_atomically(tmp_path / "a.txt", "ours")
    assert (tmp_path / "stranger.txt").read_text("utf-8") == "theirs"
    assert len(set(seen)) == 2 and all(UNFINISHED.fullmatch(name) for name in seen)
    monkeypatch.setattr("secrets.token_hex", lambda _: "0" * 16)
    (tmp_path / f".a.txt.{'0' * 16}.partial").symlink_to(tmp_path / "stranger.txt")
    with pytest.raises((FileExistsError, RunFolderError)):
        write_atomically(tmp_path / "a.txt", "other")
    assert (tmp_path / "stranger.txt").read_text("utf-8") == "theirs"


def test_the_longest_name_that_the_system_allows_can_be_written(tmp_path: Path) -> None:
    write_atomically(tmp_path / ("\u00e9" * 127), "x")
    assert len(list(tmp_path.iterdir())) == 1


def test_what_a_kill_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    kept = [tmp_path / name for name in (".a.partial", "a.0123456789abcdef.partial", ".lock")]
    for path in (*kept, tmp_path / "images" / "x" / ".a.png.0123456789abcdef.partial"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    remove_unfinished(tmp_path)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == set(kept)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no FIFOs")
def test_what_is_no_file_of_the_run_is_neither_waited_for_nor_changed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "elsewhere").write_text("{}\n", encoding="utf-8")
    os.link(tmp_path / "elsewhere", tmp_path / "hard")
    for name, why in (("fifo", "is not a regular file"), ("folder", "directory"), ("hard", "hard link")):
        with pytest.raises((RunFolderError, IsADirectoryError), match=why):
            append_lines(tmp_path / name, [{"a": 1}])
    for name in ("fifo", "folder"):
        with pytest.raises(RunFolderError, match=r"is (not a regular file|a folder)"):
            list(read_lines(tmp_path / name))
        with pytest.raises(RunFolderError, match=r"is (not a regular file|a folder)"):
            read_json(tmp_path / name)
    assert (tmp_path / "elsewhere").read_text("utf-8") == "{}\n"


def test_json_and_lines_are_read_up_to_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(tmp_path / "a.json", list(range(100)))
    with pytest.raises(RunFolderError, match=r"has \d+ bytes; at most 10 are read"):
        read_json(tmp_path / "a.json", limit=10)
    append_lines(tmp_path / "lines", [{"a": 1}, {"a": "x" * 1000}, {"a": 2}])
    monkeypatch.setattr(writing, "MAX_LINE_BYTES", 500)
    assert list(read_lines(tmp_path / "lines")) == [{"a": 1}, {"a": 2}]
    monkeypatch.setattr(writing, "MAX_PIECES_BYTES", 500)
    with pytest.raises(RunFolderError, match=r"lines' has [\d,]+ bytes; at most 500 are read"):
        list(read_lines(tmp_path / "lines"))
    with pytest.raises(OSError, match="at most 10 are read"):
        hash_file(tmp_path / "lines", 10)


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

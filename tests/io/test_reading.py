"""Strangers' text files: every encoding that is read, and every file that is refused with its reason."""

import os
from pathlib import Path

import pytest

from imgaudit.exceptions import InputError
from imgaudit.io.reading import decode_text, format_path, hash_file, read_bounded, read_text

TEXT = "na\u00efve \u6587\n"


@pytest.mark.parametrize(
    "data",
    [TEXT.encode(), b"\xef\xbb\xbf" + TEXT.encode(), b"\xff\xfe" + TEXT.encode("utf-16-le"),
     b"\xfe\xff" + TEXT.encode("utf-16-be")],
    ids=["UTF-8", "UTF-8 with mark", "UTF-16", "UTF-16 of the other byte order"],
)  # fmt: skip
def test_unicode_is_read_without_its_mark(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(data)
    assert read_text(tmp_path / "a", 100, "table") == TEXT == decode_text(data, fallback="cp1252")


def test_latin_bytes_are_refused_or_read_by_the_fallback(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"caf\xe9 \x81")
    with pytest.raises(InputError, match=r"the table '.*a' cannot be read as UTF-8 text: .* save it as UTF-8"):
        read_text(tmp_path / "a", 100, "table")
    assert decode_text(b"caf\xe9 \x81", fallback="cp1252") == "caf\u00e9 \ufffd"


def test_half_a_character_of_utf_16_is_refused_or_marked() -> None:
    data = b"\xff\xfe" + "ab".encode("utf-16-le") + b"c"
    with pytest.raises(InputError, match="cannot be read"):
        decode_text(data)
    assert decode_text(data, fallback="cp1252") == "ab\ufffd"


def test_an_empty_file_is_an_empty_text(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert read_text(tmp_path / "a", 0, "table") == ""


def test_a_zero_byte_is_a_character_like_others() -> None:
    assert decode_text(b"a\0b") == "a\0b"


def test_no_more_than_the_limit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(InputError, match="has 1,099,511,627,776 bytes; at most 100 are read"):
        read_bounded(path, 100)
    (tmp_path / "fits").write_bytes(b"x" * 100)
    assert len(read_bounded(tmp_path / "fits", 100)) == 100


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name, reason in (("pipe", "is not a regular file"), ("none", "cannot be opened"), (".", "is a folder")):
        with pytest.raises(InputError, match=reason):
            read_bounded(tmp_path / name, 100)
    with pytest.raises(InputError, match="cannot be opened"):
        read_bounded(tmp_path / "link", 100, follow_links=False)


def test_paths_of_any_bytes_become_different_texts() -> None:
    assert format_path("a/\u00e9.png") == "a/\u00e9.png"
    assert format_path("\udcff") != format_path("\udcfe") and format_path("\udcff").encode()


def test_a_file_is_named_by_the_sha256_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert hash_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(OSError, match="No such file"):
        hash_file(tmp_path / "b")

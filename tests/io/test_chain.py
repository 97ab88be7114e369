"""Lines of a growing file are linked: removed, edited, moved and inserted ones are found."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imgaudit.exceptions import InputError, RunFolderError
from imgaudit.io import chain
from imgaudit.io.chain import (
    CUT,
    EDITED,
    LINK,
    append_chained,
    digest_parts,
    first_link,
    next_link,
    parse_chained,
    read_chained,
)
from imgaudit.io.writing import append_lines, read_line

ORIGIN = ("notes", "0123456789abcdef")
LIMIT = 2**20


def records(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"n": start + number, "text": "\u00e9"} for number in range(count)]


@pytest.fixture
def chained(tmp_path: Path) -> Path:
    path = tmp_path / "notes.jsonl"
    append_chained(path, ORIGIN, records(2), LIMIT)
    append_chained(path, ORIGIN, records(3, start=2), LIMIT)
    return path


def test_parts_are_hashed_with_their_lengths() -> None:
    assert digest_parts("ab", "c") != digest_parts("a", "bc") != digest_parts("abc")
    assert first_link("a", "bc") != first_link("ab", "c")
    assert digest_parts("\u00e9") == digest_parts(b"\xc3\xa9")
    # sha256(00 00 00 00 00 00 00 01 'a'), by sha256sum.
    assert digest_parts("a") == "3b196fd4907bedf51c3090e9835f2f7cb61e7ee1b2299ea3b8fed9b4183a822a"


def test_a_file_that_only_grew_fits(chained: Path) -> None:
    read = read_chained(chained, ORIGIN, LIMIT)
    assert read.records == records(5) and not list(read.problems()) and not read.without_link
    assert read.link == next_link(read.lines[-2].link, records(5)[-1])
    assert read_chained(chained.with_name("none"), ORIGIN, LIMIT).link == first_link(*ORIGIN)


def without(lines: list[bytes]) -> list[bytes]:
    return lines[:2] + lines[3:]


def moved(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[2], lines[1], *lines[3:]]


def repeated(lines: list[bytes]) -> list[bytes]:
    return [*lines[:3], lines[1], *lines[3:]]


def without_first(lines: list[bytes]) -> list[bytes]:
    return lines[1:]


@pytest.mark.parametrize(
    ("edit", "named"), [(without, {3}), (moved, {2, 3, 4}), (repeated, {4, 5}), (without_first, {1})]
)
def test_changed_order_and_number_is_found(
    chained: Path, edit: Callable[[list[bytes]], list[bytes]], named: set[int]
) -> None:
    chained.write_bytes(b"".join(edit(chained.read_bytes().splitlines(keepends=True))))
    read = read_chained(chained, ORIGIN, LIMIT)
    assert {line.number for line in read.lines if line.problem} == named
    assert all("does not follow the line before" in problem for problem in read.problems())


def test_an_edited_line_is_found_even_with_its_checksum_made_again(chained: Path, tmp_path: Path) -> None:
    lines = chained.read_bytes().splitlines(keepends=True)
    record = read_line(lines[1])
    assert record is not None
    edited = tmp_path / "edited.jsonl"
    append_lines(edited, [record | {"n": 99}])
    chained.write_bytes(b"".join([lines[0], edited.read_bytes(), *lines[2:]]))
    read = read_chained(chained, ORIGIN, LIMIT)
    assert list(read.problems()) == [
        "line 2 does not follow the line before: a line was removed, edited, moved or put in"
    ]
    for text, said in (('"n": 1,', "was edited"), (f'"{LINK}"', "line 3 does not follow")):
        chained.write_bytes(lines[0] + lines[1].replace(text.encode(), b'"n": 7,') + b"".join(lines[2:]))
        assert said in next(read_chained(chained, ORIGIN, LIMIT).problems())


def test_lines_of_another_file_do_not_fit(chained: Path) -> None:
    assert len(list(read_chained(chained, ("notes", "f" * 16), LIMIT).problems())) == 1


def test_lines_before_links_are_covered_by_the_first_line_that_has_one(tmp_path: Path) -> None:
    path = tmp_path / "old.jsonl"
    append_lines(path, records(3))
    read = read_chained(path, ORIGIN, LIMIT)
    assert not list(read.problems()) and read.without_link == 3
    append_chained(path, ORIGIN, records(1, start=3), LIMIT)
    read = read_chained(path, ORIGIN, LIMIT)
    assert not list(read.problems()) and read.without_link == 3 and len(read.records) == 4
    append_lines(path, records(1, start=9))
    append_chained(path, ORIGIN, records(1, start=4), LIMIT)
    said = list(read_chained(path, ORIGIN, LIMIT).problems())
    assert len(said) == 1 and said[0].startswith("line 5 has no link")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[1:4]))
    assert [line.number for line in read_chained(path, ORIGIN, LIMIT).lines if line.problem] == [3]


def test_a_line_cut_by_a_kill_is_named_and_cannot_be_removed_later(chained: Path) -> None:
    whole = chained.read_bytes()
    chained.write_bytes(whole + whole[:30])
    read = read_chained(chained, ORIGIN, LIMIT)
    assert not list(read.problems()) and [line.number for line in read.cut] == [6]
    chained.write_bytes(whole + whole[:30] + b"\n")
    assert list(read_chained(chained, ORIGIN, LIMIT).problems()) == [f"line 6 {CUT}"]
    chained.write_bytes(whole + whole[:30])
    append_chained(chained, ORIGIN, records(1, start=5), LIMIT)
    read = read_chained(chained, ORIGIN, LIMIT)
    assert not list(read.problems()) and [line.number for line in read.cut] == [6] and len(read.records) == 6
    lines = chained.read_bytes().splitlines(keepends=True)
    chained.write_bytes(b"".join(lines[:5] + lines[6:]))
    assert [line.number for line in read_chained(chained, ORIGIN, LIMIT).lines if line.problem] == [6]


def test_hostile_lines_stop_nothing(chained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = chained.read_bytes()
    strange = [b"[" * 100_000, b"\xff\x00", b"null", json.dumps({"a": 1, LINK: 3, "check": "0" * 16}).encode()]
    read = parse_chained(whole + b"\n".join(strange), ORIGIN)
    assert len(read.lines) == 9 and [line.number for line in read.cut] == [6, 7]
    assert list(read.problems()) == [f"line {number} {EDITED}" for number in (8, 9)]
    monkeypatch.setattr(chain, "MOST_LINES", 5)
    with pytest.raises(InputError, match="6 lines; at most 5"):
        parse_chained(whole + b"\n", ORIGIN)
    monkeypatch.setattr(chain, "LONGEST_LINE", 50)
    assert not parse_chained(whole, ORIGIN).records


def test_links_and_large_files_are_refused_by_name(chained: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.jsonl"
    link.symlink_to(chained)
    with pytest.raises(RunFolderError, match=r"link\.jsonl"):
        read_chained(link, ORIGIN, LIMIT)
    with pytest.raises(RunFolderError, match="at most 10"):
        append_chained(chained, ORIGIN, records(1), 10)
    with pytest.raises(ValueError, match="without 'link'"):
        append_chained(chained, ORIGIN, [{LINK: "a"}], LIMIT)


def test_a_link_that_is_no_digest_is_named(chained: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.jsonl"
    append_lines(path, [{"n": 1, LINK: "short"}, {"n": 2, LINK: 5}])
    assert len(list(read_chained(path, ORIGIN, LIMIT).problems())) == 2

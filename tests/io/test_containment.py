"""Nothing below a contained folder is read, written or deleted through a link; the folder itself may be one."""

import os
from pathlib import Path

import pytest

from imgaudit.exceptions import InputError, RunFolderError
from imgaudit.io import containment
from imgaudit.io.containment import contain, find_container, make_folder, open_parent, require_plain
from imgaudit.io.reading import hash_file, read_bounded
from imgaudit.io.writing import (
    append_lines,
    read_json,
    read_lines,
    remove_file,
    remove_folder,
    write_atomically,
    write_json,
)

pytestmark = pytest.mark.skipif(os.name == "nt", reason="making links takes a right that Windows users lack")


@pytest.fixture(params=["by descriptor", "by path"])
def run(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A contained folder, with the steps of this system and with those of one that cannot open relative to a folder."""
    if request.param == "by path":
        monkeypatch.setattr(containment, "BY_DESCRIPTOR", False)
        monkeypatch.setattr(containment, "NO_FOLLOW", 0)
    run = tmp_path / "run"
    run.mkdir()
    contain(run)
    return run


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "canary.json").write_text('{"canary": 1, "check": ""}\n', encoding="utf-8")
    return folder


def state(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_no_link_to_a_folder_is_followed_anywhere_below(run: Path, outside: Path) -> None:
    before = state(outside)
    (run / "report").symlink_to(outside)
    (run / "images").mkdir()
    (run / "images" / "a").symlink_to(outside)
    for folder in (run / "report", run / "report" / "thumbs", run / "images" / "a"):
        file = folder / "canary.json"
        for attempt in (
            lambda file=file: write_json(file, {}),
            lambda file=file: append_lines(file, [{"a": 1}]),
            lambda file=file: read_json(file),
            lambda file=file: list(read_lines(file)),
            lambda file=file: hash_file(file),
            lambda file=file: remove_file(file),
            lambda file=file: remove_folder(file),
            lambda folder=folder: make_folder(folder / "new"),
        ):
            with pytest.raises(RunFolderError, match=r"is a link, which could lead outside of the run folder"):
                attempt()
        with pytest.raises(InputError, match="is a link"):
            read_bounded(file, 1000)
    assert state(outside) == before


def test_a_link_in_the_place_of_a_file_is_replaced_or_refused_but_never_followed(run: Path, outside: Path) -> None:
    before = state(outside)
    for name in ("a.json", "b.json"):
        (run / name).symlink_to(outside / "canary.json")
    write_json(run / "a.json", {})
    assert not (run / "a.json").is_symlink() and read_json(run / "a.json") == {}
    for attempt in (
        lambda: append_lines(run / "b.json", [{"a": 1}]),
        lambda: read_json(run / "b.json"),
        lambda: list(read_lines(run / "b.json")),
        lambda: hash_file(run / "b.json"),
    ):
        with pytest.raises(RunFolderError, match="is a link"):
            attempt()
    remove_folder(run / "b.json")
    remove_file(run / "b.json")
    (run / "c.json").symlink_to(outside / "new.json")
    with pytest.raises(RunFolderError, match="is a link"):
        append_lines(run / "c.json", [{"a": 1}])
    assert state(outside) == before and not (run / "b.json").is_symlink()


def test_removing_a_folder_removes_links_in_it_and_not_what_they_lead_to(run: Path, outside: Path) -> None:
    (run / "controls").mkdir()
    (run / "controls" / "out").symlink_to(outside)
    remove_folder(run / "controls")
    assert not (run / "controls").exists() and state(outside)


def test_the_folder_itself_and_what_is_above_may_be_links(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    contain(tmp_path / "run")
    write_atomically(tmp_path / "run" / "images" / "a" / "x.txt", "x")
    assert (tmp_path / "disk" / "images" / "a" / "x.txt").read_text("utf-8") == "x"
    assert read_bounded(tmp_path / "run" / "images" / "a" / "x.txt", 10) == b"x"


def test_the_outermost_contained_folder_counts_and_two_dots_lead_nowhere(run: Path, tmp_path: Path) -> None:
    contain(run / "controls")
    assert find_container(run / "controls" / "x") == run
    assert find_container(run) is None and find_container(run / ".." / "x") is None
    (run / "out").symlink_to(tmp_path)
    with pytest.raises(RunFolderError, match=r"has '\.\.' in it"):
        write_atomically(run / "out" / ".." / "x", "x")


def test_what_is_no_folder_or_is_missing_is_named(run: Path) -> None:
    (run / "report").touch()
    with pytest.raises(RunFolderError, match=r"report' must be a folder; remove it"):
        write_atomically(run / "report" / "x", "x")
    with pytest.raises(FileNotFoundError, match="missing"), open_parent(run / "missing" / "x"):
        pass
    remove_file(run / "missing" / "x")
    remove_folder(run / "missing" / "x")
    with pytest.raises(RunFolderError, match="cannot be read"):
        read_json(run / "missing" / "x.json")


def test_a_folder_is_looked_through_before_anything_in_it_is_opened(run: Path, outside: Path) -> None:
    (run / "images" / "a").mkdir(parents=True)
    (run / "images" / "a" / "target.png").touch()
    require_plain(run)
    for name, goal in (("link", outside), ("dangling", outside / "none"), ("inside", run)):
        (run / "images" / name).symlink_to(goal)
        with pytest.raises(RunFolderError, match=rf"{name}' is a link"):
            require_plain(run)
        (run / "images" / name).unlink()
    os.mkfifo(run / "images" / "a" / "fifo")
    with pytest.raises(RunFolderError, match="fifo' is not a regular file: remove it"):
        require_plain(run)
    require_plain(run / "missing")


def test_a_file_that_is_larger_than_any_of_a_run_is_named(run: Path) -> None:
    with (run / "records.jsonl").open("wb") as file:
        file.truncate(1001)
    require_plain(run, 1001)
    with pytest.raises(RunFolderError, match=r"records\.jsonl' has 1,001 bytes; no file of a run has more than 1,000"):
        require_plain(run, 1000)

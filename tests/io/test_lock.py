"""A folder held by one process at a time."""

import os
from contextlib import suppress
from pathlib import Path

import pytest

from imgaudit.exceptions import RunFolderError
from imgaudit.io.lock import hold_folder


def test_a_held_folder_names_its_holder_and_is_free_afterwards(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    with hold_folder(folder):
        assert (folder / ".lock-holder").read_text("utf-8").startswith("process ")
        with pytest.raises(RunFolderError, match="is being written by process"), hold_folder(folder):
            pass
    with hold_folder(folder):
        pass
    assert not (folder / ".lock-holder").exists()


def test_a_file_cannot_be_held(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(RunFolderError, match="is a file; choose another --out"), hold_folder(tmp_path / "run"):
        pass


@pytest.mark.skipif(os.name == "nt", reason="making links takes a right that Windows users lack")
@pytest.mark.parametrize("name", [".lock", ".lock-holder"])
def test_a_link_in_the_place_of_a_lock_changes_nothing_outside(tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").write_text("theirs", encoding="utf-8")
    (tmp_path / "run").mkdir()
    for make in (lambda to: to.symlink_to(tmp_path / "outside"), lambda to: os.link(tmp_path / "outside", to)):
        make(tmp_path / "run" / name)
        with suppress(RunFolderError), hold_folder(tmp_path / "run"):
            pass
        assert (tmp_path / "outside").read_text("utf-8") == "theirs"
        (tmp_path / "run" / name).unlink(missing_ok=True)
    (tmp_path / "run" / name).symlink_to(tmp_path / "new")
    with suppress(RunFolderError), hold_folder(tmp_path / "run"):
        pass
    assert not (tmp_path / "new").exists()


def test_a_lock_that_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    with pytest.raises(RunFolderError, match=r"\.lock' must be a regular file of its own"), hold_folder(tmp_path):
        pass

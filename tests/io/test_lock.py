"""A folder held by one process at a time."""

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

"""Large temporary files: on disk, or where the user says, and a full disk is named."""

import errno
import tempfile
from pathlib import Path

import numpy as np
import pytest

from imgaudit.io import scratch
from imgaudit.io.scratch import find_scratch_folder, open_scratch_file
from imgaudit.io.stored_rows import StoredRows


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in scratch.CHOSEN_BY:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", None)
    return monkeypatch


def test_the_users_choice_comes_first(unset: pytest.MonkeyPatch, tmp_path: Path) -> None:
    unset.setattr(scratch, "ON_DISK", tmp_path)
    assert find_scratch_folder() == str(tmp_path)
    chosen = tmp_path / "chosen"
    chosen.mkdir()
    unset.setenv("TMPDIR", str(chosen))
    assert find_scratch_folder() == str(chosen)


def test_without_a_folder_on_disk_the_systems_is_taken(unset: pytest.MonkeyPatch, tmp_path: Path) -> None:
    unset.setattr(scratch, "ON_DISK", tmp_path / "none")
    assert find_scratch_folder() == tempfile.gettempdir()


def test_nothing_is_left(unset: pytest.MonkeyPatch, tmp_path: Path) -> None:
    unset.setattr(scratch, "ON_DISK", tmp_path)
    with open_scratch_file() as file:
        file.write(b"rows")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_named_with_what_to_do(unset: pytest.MonkeyPatch, tmp_path: Path) -> None:
    unset.setattr(scratch, "ON_DISK", tmp_path)
    with Path("/dev/full").open("r+b", buffering=0) as full:
        unset.setattr(tempfile, "TemporaryFile", lambda dir: full)
        with (
            pytest.raises(OSError, match="set TMPDIR to a folder") as raised,
            open_scratch_file() as file,
        ):
            StoredRows(file, (4,), np.float32).append(np.zeros((9, 4), np.float32))
    assert raised.value.errno == errno.ENOSPC and raised.value.filename == str(tmp_path)


def test_other_errors_are_left_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none"), open_scratch_file():
        (tmp_path / "none").read_bytes()

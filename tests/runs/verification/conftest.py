"""A copy of a finished run for each test to tamper with."""

import shutil
from pathlib import Path

import pytest

from imgaudit.runs.folder import RunFolder
from tests.support.finished_run import result, run

__all__ = ["copy", "result", "run"]


@pytest.fixture
def copy(run: RunFolder, tmp_path: Path) -> RunFolder:
    """Return a finished run of two images and a file that is none."""
    shutil.copytree(run.path, tmp_path / "copy")
    return RunFolder(tmp_path / "copy")

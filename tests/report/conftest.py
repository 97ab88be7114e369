"""The finished run that reports, reviews and complaints are tested on: made once, copied where it is changed."""

import shutil
from pathlib import Path

import pytest

from imgaudit.report.review import (
    ReviewedRun,
    read_reviewed_run,
)
from imgaudit.runs.folder import RunFolder
from tests.support.finished_run import result, run

__all__ = ["result", "run"]


@pytest.fixture
def folder(run: RunFolder, result: object, tmp_path: Path) -> RunFolder:
    shutil.copytree(run.path, tmp_path / "copy")
    return RunFolder(tmp_path / "copy")


@pytest.fixture
def reviewed(folder: RunFolder) -> ReviewedRun:
    return read_reviewed_run(folder.path)

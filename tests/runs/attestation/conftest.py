"""A copy of a finished run, and a key to sign it with."""

import shutil
from pathlib import Path

import pytest

from imgaudit.runs.attestation.keys import make_key
from imgaudit.runs.folder import RunFolder
from tests.support.finished_run import result, run

__all__ = ["result", "run"]


@pytest.fixture
def copy(run: RunFolder, result: object, tmp_path: Path) -> RunFolder:
    shutil.copytree(run.path, tmp_path / "copy")
    return RunFolder(tmp_path / "copy")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    make_key(tmp_path / "signer.pem", "")
    return tmp_path / "signer.pem"

"""What machines can hold: style, types, the import diagram, the public names, the docs."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import imgaudit

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
    ],
    ids=" ".join,
)
def test_the_checkers_find_nothing(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_imports_go_downward() -> None:
    program = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command()"
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, env=environ
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_public_names_are_sorted_complete_and_importable() -> None:
    assert imgaudit.__all__ == sorted(imgaudit.__all__)
    for name in imgaudit.__all__:
        assert getattr(imgaudit, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        imgaudit.nothing  # noqa: B018
    assert importlib.import_module("imgaudit").__version__ == imgaudit.__version__


def test_no_file_outgrows_a_reader() -> None:
    long = {
        path.name: count
        for path in (ROOT / "imgaudit").rglob("*.py")
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not long

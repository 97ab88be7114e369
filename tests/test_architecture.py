"""The rules of the house that a machine can check: style, types, imports, packages, file sizes, public names."""

import importlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import imgaudit

ROOT = Path(__file__).parent.parent
HOUSE = ROOT / "imgaudit"


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


def test_few_rooms_and_a_short_contract() -> None:
    packages = {path.parent.name for path in HOUSE.glob("*/__init__.py")}
    loose = {path.stem for path in HOUSE.glob("*.py")}
    assert len(packages) <= 13 and len(loose) <= 5, (packages, loose)
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (layers,) = [contract for contract in settings["contracts"] if contract["type"] == "layers"]
    assert layers["exhaustive"] and len(layers["layers"]) <= 12
    # Every package and module has a layer, but the one that starts the program and the one that gives out the names.
    rooms = {room.strip() for line in layers["layers"] for room in line.split("|")}
    assert rooms == packages | loose - {"__init__", "__main__"}


def test_decisions_and_schemas_load_neither_torch_nor_opencv() -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for room in ("decision", "schema")
        for path in sorted((HOUSE / room).rglob("*.py"))
    ]
    program = f"import importlib, sys\nfor name in {modules}: importlib.import_module(name)\n"
    program += "assert not {'torch', 'cv2'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


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

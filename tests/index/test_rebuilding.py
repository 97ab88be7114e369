"""The advice of a refusal is a command: it is run as it stands, and builds the collection anew."""

import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.cli.exit_codes import ExitCode
from imgaudit.exceptions import InputError
from imgaudit.index import BuildOptions, Collection, Kind, SourceInput, add_to_collection, build_collection
from imgaudit.index.manifest import read_manifest
from imgaudit.index.rebuilding import advise_rebuilding
from tests.conftest import random_image
from tests.support.vectors import unit_vectors


def run_advice(message: str) -> Path:
    """Run the command that a message ends with; return the folder of the collection that it builds."""
    command = shlex.split(message.partition("what is there now: ")[2])
    done = CliRunner().invoke(app, command[1:], catch_exceptions=False)
    # PDQ measures nothing of very smooth pictures, which are then listed as left out.
    assert command[:3] == ["imgaudit", "index", "build"]
    assert done.exit_code in (ExitCode.DECIDED, ExitCode.INCOMPLETE), done.output
    return Path(command[3])


def test_the_command_builds_the_changed_folders_with_the_same_options(
    make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    first, second = make_folder("a b'c", range(3)), make_folder("second", range(10, 12))
    third = make_folder("third", range(20, 22))
    build_collection(tmp_path / "c", [SourceInput(first)], BuildOptions("pdq", Kind.FLAT), workers=0)
    add_to_collection(tmp_path / "c", [SourceInput(second)], workers=0)
    random_image(99).save(first / "new.png")
    (tmp_path / "c-2").mkdir()
    with pytest.raises(InputError) as refused:
        add_to_collection(tmp_path / "c", [SourceInput(first), SourceInput(third)], workers=0)
    built = run_advice(str(refused.value))
    assert built == tmp_path / "c-3"
    manifest = Collection.open(built).manifest
    assert manifest.count + manifest.skipped_count == 8
    assert (manifest.descriptor.name, manifest.wanted) == ("pdq", Kind.FLAT)


def test_the_command_names_the_lists_of_vectors(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", unit_vectors(3))
    (tmp_path / "ids.txt").write_text("a\nb\nc\n")
    sources = [SourceInput(tmp_path / "v.npy", tmp_path / "ids.txt")]
    build_collection(tmp_path / "c", sources, BuildOptions("given"))
    np.save(tmp_path / "v.npy", unit_vectors(3, seed=1))
    with pytest.raises(InputError) as refused:
        build_collection(tmp_path / "c", sources, BuildOptions("given"))
    found = Collection.open(run_advice(str(refused.value))).search(unit_vectors(3, seed=1)[:1], 1)
    assert found[0][0].id == "v.npy/a"


def test_sources_that_one_command_cannot_name_get_words(tmp_path: Path) -> None:
    for name in ("v", "w"):
        np.save(tmp_path / f"{name}.npy", unit_vectors(3))
    (tmp_path / "ids.txt").write_text("a\nb\nc\n")
    build_collection(tmp_path / "c", [SourceInput(tmp_path / "v.npy", tmp_path / "ids.txt")], BuildOptions("given"))
    add_to_collection(tmp_path / "c", [SourceInput(tmp_path / "w.npy")])
    advice = advise_rebuilding(tmp_path / "c", read_manifest(tmp_path / "c"), [])
    assert advice == "Build a new collection in another folder, with the same sources and options"

"""Paths are checked while the command line is read: at once, on every command, with what was expected."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperArgument, TyperGroup, TyperOption
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.cli import paths as checks
from imgaudit.exceptions import InputError, ModelRefusedError


def _parameters(group: TyperGroup, words: str = "") -> Iterator[tuple[str, TyperOption | TyperArgument]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from _parameters(command, f"{words}{name} ")
        else:
            for one in command.params:
                if isinstance(one, TyperOption | TyperArgument):
                    yield f"{words}{name} {one.name}", one


PATHS = {
    name: one
    for name, one in _parameters(typer.main.get_command(app))  # type: ignore[arg-type]
    if "pathlib.Path" in str(one.type_descriptor.annotation) or one.name in ("loras", "config", "mitigated_model")
}


def test_every_path_of_every_command_is_checked() -> None:
    assert len(PATHS) > 80 and {"audit targets", "benchmark detection table", "index add sources"} <= PATHS.keys()
    unchecked = [name for name, one in PATHS.items() if one.callback is None]
    assert not unchecked, f"give these a callback of imgaudit.cli.paths: {unchecked}"


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.csv").write_text("file_name,text\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


AUDIT = ["audit", "folder", "--model", "demo"]
CASES = [
    (["audit", "fodler", "--model", "demo"], "TARGETS: there is no 'fodler': expected a folder. Check the name, which"),
    (["audit", "file.csv", "--model", "demo"], "TARGETS: 'file.csv' is a file, but a folder was expected"),
    ([*AUDIT, "--controls", "none"], "--controls: there is no 'none': expected a folder"),
    ([*AUDIT, "--captions", "folder"], "--captions: 'folder' is a folder, but a file was expected"),
    ([*AUDIT, "--prompts", "none.csv"], "--prompts: there is no 'none.csv': expected a file"),
    ([*AUDIT, "--calibration", "none.json"], "--calibration: there is no"),
    ([*AUDIT, "--reference", "none"], "--reference: there is no"),
    ([*AUDIT, "--decoys", "file.csv"], "--decoys: 'file.csv' is a file"),
    ([*AUDIT, "--policy", "none.toml"], "--policy: there is no"),
    ([*AUDIT, "--seal", "none.json"], "--seal: there is no"),
    ([*AUDIT, "--out", "file.csv"], "--out: 'file.csv' is a file, but results go to a folder"),
    ([*AUDIT, "--out", "file.csv/run/1"], "--out: 'file.csv/run/1' cannot be made, because"),
    ([*AUDIT, "--log-file", "folder"], "--log-file: 'folder' is a folder, but a file is written"),
    (["calibrate", "none", "--model", "demo"], "CONTROLS: there is no"),
    (["calibrate", "folder", "--model", "demo", "--out", "folder"], "--out: 'folder' is a folder, but a file"),
    (["index", "build", "new.index", "folder", "none"], "SOURCES: there is no 'none': expected a file or folder"),
    (["index", "search", "none.index", "folder"], "INDEX: there is no"),
    (["match", "folder", "none"], "TARGETS: there is no"),
    (["detect", "none.txt", "--model", "demo"], "PROMPTS: there is no"),
    (["triggers", "--model", "demo", "--words-file", "folder"], "--words-file: 'folder' is a folder"),
    (["mitigate", "prune", "none", "--model", "demo", "--out", "new"], "MASK: there is no"),
    (["lab", "describe", "none"], "LAB: there is no"),
    (["dial", "none", "--model", "demo"], "RUN: there is no"),
    (["verify", "folder", "--key", "none.pem"], "--key: there is no"),
    (["benchmark", "detection", "--table", "none.json"], "--table: there is no"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), CASES, ids=[" ".join(one) for one, _ in CASES])
def test_a_wrong_path_is_refused_with_what_was_expected(arguments: list[str], message: str, there: Path) -> None:
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, InputError), done.output
    assert message in str(done.exception) and not done.output
    assert sorted(path.name for path in there.iterdir()) == ["file.csv", "folder"], "nothing was made"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--model", "./none"], "model './none' was not found: expected a model folder"),
        (["--model", "demo", "--lora", "none.safetensors:2"], "--lora: there is no 'none.safetensors:2'"),
        (["--model", "demo", "--model-config", "none"], "--model-config: there is no 'none'"),
    ],
)
def test_a_model_that_is_not_there_is_refused_before_anything_is_read(
    more: list[str], message: str, there: Path
) -> None:
    done = CliRunner().invoke(app, ["audit", "folder", *more])
    assert isinstance(done.exception, ModelRefusedError) and message in str(done.exception)


def test_a_lora_may_have_a_weight_or_a_colon_in_its_name(there: Path) -> None:
    (there / "a:b.safetensors").touch()
    parameter = PATHS["audit loras"]
    for given in (["a:b.safetensors"], ["a:b.safetensors:0.5", "folder:2"]):
        assert checks.require_loras(parameter, given) == given  # type: ignore[arg-type]


def test_folders_that_cannot_be_read_or_written_are_refused(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(InputError, match="cannot be read by this account"):
        checks.check_folder("--controls", there / "folder")
    with pytest.raises(InputError, match=r"this account cannot write to .*folder'"):
        checks.check_new_folder("--out", there / "folder" / "run")
    for wrong in ("x" * 5000, "a\0b"):
        with pytest.raises(InputError, match="--out: "):
            checks.check_new_folder("--out", Path(wrong))


def test_a_dry_run_needs_no_place_to_write_to(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: mode & os.W_OK == 0)
    command = ["triggers", "--model", "demo"]
    assert "cannot write to" in str(CliRunner().invoke(app, command).exception)
    assert CliRunner().invoke(app, [*command, "--dry-run"]).exit_code == 0


def test_a_wrong_path_costs_no_import_of_torch(there: Path) -> None:
    program = (
        "import sys; from imgaudit.cli import app\n"
        f"try: app({[*AUDIT, '--controls', 'none']!r}, standalone_mode=False)\n"
        "except Exception as error: print(error)\n"
        "print({'torch', 'diffusers', 'transformers', 'faiss', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=there)
    assert re.match(r"--controls: there is no 'none'.*\nset\(\)\n", done.stdout), done.stdout + done.stderr

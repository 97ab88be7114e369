"""Help and names of the commands: a file each, every option under a heading and with its default, and nothing heavy."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import imgaudit.cli
from imgaudit.benchmark.registry import BENCHMARKS
from imgaudit.cli import COMMANDS, app
from imgaudit.cli.signatures import Heading
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.protocol import Effort

SHARED = {
    "__init__", "configured", "cost", "dry_run", "engine", "event_log", "exit_codes", "folders", "inputs",
    "interruption", "model_choice", "names", "no_controls", "options", "pace", "passphrase", "paths", "replay_options",
    "sealed", "shard", "signatures", "streams", "terminal",
}  # fmt: skip
"""Files of cli/ that are no command."""

HEADED = (
    "bank merge", "compare", "doctor", "index add", "index build", "index info", "index search", "lab clip",
    "lab describe", "lab distil", "lab lora", "lab train", "report", "review export", "review import", "review package",
    "review status",
    "bag", "key make", "seal", "sign", "verify", "view",
    "audit", "calibrate", "demo", "detect", "dial", "match", "merge", "mitigate evaluate", "mitigate fine-tune",
    "mitigate locate", "mitigate prune", "triggers", *(f"benchmark {one.name}" for one in BENCHMARKS),
)  # fmt: skip


def help_of(command: str) -> str:
    result = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})
    assert result.exit_code == 0, result.output
    return result.output


def panels(text: str) -> dict[str, str]:
    """The panels of a help page by title, each with its lines."""
    found = re.findall(r"╭─ (.+?) ─+╮\n(.*?)╰─", text, flags=re.DOTALL)
    return {title: re.sub(r"[ │\n]+", " ", body) for title, body in found}


def test_one_file_per_command() -> None:
    group = typer.main.get_group(app)
    files = {path.stem for path in Path(imgaudit.cli.__file__).parent.glob("*.py")}
    assert files - SHARED == set(group.commands)
    modules = {module.__name__.rpartition(".")[2] for modules in COMMANDS.values() for module in modules}
    assert modules == set(group.commands)


def test_commands_stand_under_headings() -> None:
    shown = panels(help_of(""))
    assert list(shown) == ["Options", *COMMANDS]
    for heading, modules in COMMANDS.items():
        for module in modules:
            assert f" {module.__name__.rpartition('.')[2]} " in shown[heading]


@pytest.mark.parametrize("command", HEADED)
def test_each_option_stands_under_a_heading_and_shows_its_default(command: str) -> None:
    shown = panels(help_of(command))
    assert re.fullmatch(r" --help -h (<bool> )?Show this message and exit\. ", shown.pop("Options"))
    shown.pop("Arguments", None)
    assert set(shown) <= set(Heading)
    found: object = typer.main.get_group(app)
    for name in command.split():
        found = found.commands[name]  # type: ignore[attr-defined]
    names = [one.opts[0] for one in found.params if one.param_type_name == "option"]  # type: ignore[attr-defined]
    page = " ".join(shown.values())
    # Each option with what stands up to the next one.
    starts = sorted(re.search(rf"(?<= ){name}[ ,]", page).start() for name in names)  # type: ignore[union-attr]
    for start, end in zip(starts, [*starts[1:], len(page)], strict=True):
        assert re.search(r"\[(default: .+|required)\]", page[start:end]), page[start:end]


def test_audit_has_the_headings_that_a_newcomer_looks_for() -> None:
    shown = panels(help_of("audit"))
    assert list(shown) == [
        "Arguments", "Options", "What is audited", "Controls", "Budget", "Output", "Machine", "Expert",
    ]  # fmt: skip
    assert sum(body.count("[default:") for body in shown.values()) == 53
    assert "owner/name[@revision]" in shown["What is audited"]


def test_defaults_are_those_of_the_configuration() -> None:
    budget = panels(help_of("audit"))["Budget"]
    quick, standard, thorough = (AuditConfig(effort=one).protocol for one in Effort)
    seeds = [one.generation.seeds for one in (standard, quick, thorough)]
    assert "--seeds N" in budget and "[default: {}; quick: {}; thorough: {}]".format(*seeds) in budget
    assert f"[default: {', '.join(standard.ladder.rungs)}; quick: {', '.join(quick.ladder.rungs)}; " in budget
    assert f"[default: {standard.inversion.steps}; quick: {quick.inversion.steps}]" in budget


@pytest.mark.parametrize(
    "command",
    ["", "audit", "detect", "triggers", "match", "mitigate evaluate", "lab train", "benchmark", "benchmark detection"],
)
def test_help_needs_no_heavy_library(command: str) -> None:
    code = (
        f"import sys; from imgaudit.cli import main; sys.argv = {['imgaudit', *command.split(), '--help']!r}\n"
        "try: main()\nexcept SystemExit as stop: assert not stop.code\n"
        "loaded = {'torch', 'diffusers', 'transformers', 'numpy', 'scipy', 'faiss', 'pyarrow'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0 and "Usage" in done.stdout, done.stderr

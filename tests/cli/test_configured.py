"""Every option of a command is a key of imgaudit.toml, and what is wrong there is refused with its source."""

from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.cli.configured import UNCONFIGURED, Parameter, _is_merged, _kinds, find_commands, key_of
from imgaudit.exceptions import ConfigError
from imgaudit.schema.config import AuditConfig

pytestmark = pytest.mark.usefixtures("any_path")

COMMANDS = find_commands(get_command(app))  # type: ignore[arg-type]


def written(parameter: Parameter) -> tuple[str, Any]:
    """A value for a key as TOML has it, and as the command receives it."""
    kinds = _kinds(parameter.type_descriptor.annotation)
    choices = [one for kind in kinds for one in getattr(kind, "__members__", {}).values()]
    if bool in kinds:
        return "true", True
    if kinds & {int, float}:
        low, high = parameter.min, parameter.max
        middle = max(low or 0, 1) if high is None else ((low or 0) + high) / 2
        text = str(int(middle) if int in kinds else float(middle))
    elif choices:
        text = f'"{choices[0].value}"'
    elif any(isinstance(kind, str) for kind in kinds):
        text = f'"{next(kind for kind in kinds if isinstance(kind, str))}"'
    else:
        text = '"here"'
    return (f"[{text}]" if list in kinds else text), None


@pytest.mark.parametrize("place", COMMANDS, ids=" ".join)
def test_every_option_of_every_command_is_a_key(
    place: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All options at once, so that nothing on the command line is missing; the command itself is not run."""
    parameters = {key: one for key, one in COMMANDS[place].items() if not _is_merged(COMMANDS[place], key)}
    if place == ("benchmark", "index"):
        parameters.pop("plan")
    lines = [f"{key} = {written(one)[0]}" for key, one in parameters.items()]
    (tmp_path / "imgaudit.toml").write_text(f"[{'.'.join(place)}]\n" + "\n".join(lines))
    monkeypatch.chdir(tmp_path)
    received: dict[str, Any] = {}
    root = get_command(app)
    command = root
    for word in place:
        command = command.commands[word]  # type: ignore[attr-defined]
    monkeypatch.setattr(command, "callback", lambda **values: received.update(values))
    monkeypatch.setattr(command, "invoke", lambda context: received.update(context.params))
    root(list(place), standalone_mode=False)
    for one in parameters.values():
        assert received[str(one.name)] not in (None, [], False, ()), key_of(one)


@pytest.mark.parametrize("key", ["targets", "model", "controls", "captions", "lora", "json", "quiet", "out", "fail_on"])
def test_keys_at_the_top_are_the_audits(key: str) -> None:
    assert key in COMMANDS["audit",]
    assert {*AuditConfig.model_fields} <= {*COMMANDS["audit",]}


def refuse(text: str, *command: str) -> str:
    Path("imgaudit.toml").write_text(text)
    result = CliRunner().invoke(app, [*command])
    assert isinstance(result.exception, ConfigError), result.output
    return str(result.exception)


def test_what_is_wrong_is_refused_with_the_nearest_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    audit = ("audit", "x", "--model", "demo")
    assert "nearest known key is 'controls'" in refuse('contrls = "c"', *audit)
    assert "nearest known key is 'targets'" in refuse('target = "c"', "detect", "p.txt", "--model", "demo")
    assert "put it under [detect]" in refuse("drop = 0.5", *audit)
    assert "nearest known key is 'detect'" in refuse("[detct]\ndrop = 0.5", *audit)
    assert "nearest known key is 'drop'" in refuse("[detect]\ndrp = 0.5", *audit)
    assert "nearest known key is 'build'" in refuse("[index.biuld]\nk = 5", *audit)
    assert "must be text in quotes, but got 5" in refuse("controls = 5", *audit)
    assert "must be true or false, but got 'yes'" in refuse('quiet = "yes"', *audit)
    assert "must be one value" in refuse('model = ["a", "b"]', *audit)
    assert "put it at the top" in refuse("[calibrate]\nsteps = 5", "calibrate", "x", "--model", "demo")


def test_a_path_is_meant_from_where_the_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "imgaudit.toml").write_text('targets = "mine"\nmodel = "demo"\ncontrols = "/abs"\n[detect]\ndrop = 0.5')
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    monkeypatch.setenv("IMGAUDIT_CAPTIONS", "table.csv")
    root, received = get_command(app), {}
    command = root.commands["audit"]  # type: ignore[attr-defined]
    monkeypatch.setattr(command, "invoke", lambda context: received.update(context.params))
    root(["audit", "--decoys", "d"], standalone_mode=False)
    assert received["targets"] == Path("../mine") and received["controls"] == Path("/abs")
    assert received["name"] == "demo" and received["captions"] == Path("table.csv") and received["decoys"] == Path("d")


@pytest.mark.parametrize("name", UNCONFIGURED)
def test_a_file_never_chooses_how_evidence_is_checked(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not [place for place in COMMANDS if place[0] == name]
    (tmp_path / "imgaudit.toml").write_text('[verify]\nkey = ["theirs.pem"]')
    monkeypatch.chdir(tmp_path)
    assert "unknown table [verify]" in refuse('[verify]\nkey = ["theirs.pem"]', "audit", "x", "--model", "demo")


def test_help_is_there_for_whoever_looks_up_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "imgaudit.toml").write_text("nonsense = 1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["imgaudit", "audit", "--help"])
    assert CliRunner().invoke(app, ["audit", "--help"]).exit_code == 0

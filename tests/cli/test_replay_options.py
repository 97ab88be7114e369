"""`imgaudit verify --replay`: options that belong together, and lines that fit a terminal."""

import json

import pytest
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.exceptions import ConfigError
from imgaudit.models.loading import load_model
from imgaudit.runs.folder import RunFolder
from tests.support.demo_run import make_demo_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return make_demo_run(load_model("demo", "cpu"), tmp_path_factory.mktemp("demo"))


def test_a_replay_is_printed_and_written_as_json(run: RunFolder) -> None:
    command = ["verify", str(run.path), "--replay", "2", "--replay-seed", "3", "--model", "demo", "--device", "cpu"]
    printed = CliRunner().invoke(app, command)
    assert printed.exit_code == 0, printed.output
    lines = printed.stdout.splitlines()
    start = lines.index("replay: 2 of 12 pictures, drawn by --replay-seed 3")
    end = lines.index("checked:")
    assert all(len(line) <= 80 for line in lines[start:end])
    assert sum("copy" in line.split()[-1:] for line in lines[start:end]) == 2
    content = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert content["replay"]["seed"] == 3 and len(content["replay"]["replayed"]) == 2


@pytest.mark.usefixtures("any_path")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--replay", "2"], "add --model MODEL"),
        (["--model", "demo"], "add --replay N"),
        (["--replay-seed", "2"], "add --replay N"),
        (["--replay", "0", "--model", "demo"], "must be a number from 1, or all"),
        (["--replay", "few", "--model", "demo"], "must be a number from 1, or all"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["verify", "run", *options])
    assert isinstance(result.exception, ConfigError) and message in str(result.exception), result.output

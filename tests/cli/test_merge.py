"""`imgaudit merge` as a command: what it takes, and that it refuses with exit code 2 and writes nothing."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from imgaudit.cli import app
from imgaudit.exceptions import ConfigError, ImgauditError, InputError, RunFolderError
from tests.decision.test_bank_shards import WHOLE, divide
from tests.support.shards import ShardedAudit, sharded

__all__ = ["sharded"]


def merge(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["merge", *map(str, arguments)])


def test_all_folders_become_a_run_and_the_exit_code_is_that_of_an_audit(sharded: ShardedAudit, tmp_path: Path) -> None:
    shards = [sharded.folder / name for name in ("1", "2", "3")]
    done = merge(*shards, "--out", tmp_path / "run", "--quiet")
    assert done.exit_code == 1, done.output
    assert (tmp_path / "run" / "report" / "index.html").is_file()
    again = merge(*shards, "--out", tmp_path / "run", "--fail-on", "never", "--json", "--quiet")
    lines = again.stdout.splitlines()
    assert again.exit_code == 0 and len(lines) == 7 and all(line.startswith("{") for line in lines)


@pytest.mark.parametrize("names", [("1", "2"), ("1", "2", "2", "3"), ("1", "2", "whole"), ("1", "nowhere", "3")])
def test_what_is_no_whole_set_of_shards_is_refused(
    sharded: ShardedAudit, tmp_path: Path, names: tuple[str, ...]
) -> None:
    done = merge(*(sharded.folder / name for name in names), "--out", tmp_path / "run")
    assert isinstance(done.exception, ImgauditError)
    assert isinstance(done.exception, RunFolderError | InputError)
    assert not isinstance(done.exception, ConfigError)
    assert not [*tmp_path.iterdir()]


def test_all_files_become_a_bank(tmp_path: Path) -> None:
    files = []
    for number, part in enumerate(divide(WHOLE, 3), 1):
        files.append(tmp_path / f"{number}.json")
        part.write(files[-1])
    done = merge(*files, "--out", tmp_path / "bank.json")
    assert done.exit_code == 0 and "79 controls, 21 more kept out of the bank" in done.output
    refused = merge(files[0], tmp_path, "--out", tmp_path / "other.json")
    assert "folders only" in str(refused.exception)
    assert not (tmp_path / "other.json").exists()

"""The guide to evidence, done as it says: key, signature, timestamp, bag and verification, in the order of the page."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.config import PASSPHRASE_VARIABLE
from tests.support.finished_run import result, run
from tests.support.timestamp_authority import TimestampAuthority

__all__ = ["result", "run"]

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "evidence.md"

DONE_HERE = ("key make", "key info", "sign", "timestamp request", "timestamp attach", "bag", "verify")
"""Commands that need no model."""


def commands_of_the_guide() -> list[list[str]]:
    """The words of every command of the page that can be done without a model, and of every curl, in order."""
    blocks = re.findall(r"```sh\n(.*?)```", GUIDE.read_text("utf-8"), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    words = [shlex.split(line, comments=True) for line in lines]
    return [
        one
        for one in words
        if one[:1] == ["curl"] or (one[:1] == ["imgaudit"] and " ".join(one[1:]).startswith(DONE_HERE))
        if "--replay" not in one and "--model" not in one
    ]


def test_the_guide_does_what_it_says(
    run: RunFolder, result: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "correct horse battery staple")
    shutil.copytree(run.path, "my-run")
    Path("seal.json").write_text("{}")
    authority = TimestampAuthority(tmp_path / "authority")
    shutil.copy(authority.root, "authority-root.pem")
    said: dict[str, str] = {}
    for words in commands_of_the_guide():
        if words[0] == "curl":
            (wanted,) = Path("my-run/attestations").glob("*.tsq")
            shutil.copy(authority.answer(wanted), words[words.index("--output") + 1])
            continue
        done = CliRunner().invoke(app, words[1:])
        assert done.exit_code == 0, f"{words}: {done.output} {done.exception}"
        said[words[1]] = done.stdout
    assert set(said) >= {"key", "sign", "timestamp", "bag", "verify"}
    verified = said["verify"]
    assert "the result is signed by key" in verified and "existed at" in verified and "bag:" in verified
    assert "was not given" not in verified and "no response is attached" not in verified
    assert Path("my-run-bag/data/attestations").is_dir()

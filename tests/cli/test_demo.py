"""`imgaudit demo`: its exit code is the one that the documentation names."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from imgaudit.benchmark.reports.run import make_run
from imgaudit.cli import app
from imgaudit.cli.exit_codes import ExitCode, find_exit_code
from imgaudit.runs import repetition
from imgaudit.schema.config import FailOn
from tests.support.wrapping import unwrap

ROOT = Path(__file__).parent.parent.parent
PLACES = ("README.md", "docs/tutorial.md", "imgaudit demo --help")


def documented_code(place: str) -> int:
    """The exit code of the demo as a page or its own help names it."""
    if place.startswith("imgaudit "):
        text = CliRunner().invoke(app, place.split()[1:], env={"COLUMNS": "80"}).stdout
    else:
        text = (ROOT / place).read_text(encoding="utf-8")
    [code] = re.findall(
        r"exit code (?:is )?(\d+)(?: whatever is found| although it finds copies|, as with)", unwrap(text)
    )
    return int(code)


@pytest.mark.parametrize("place", PLACES)
def test_the_demo_ends_with_the_exit_code_that_is_documented(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An audit of the reader's own that gave these verdicts would end with another code.
    found = make_run(tmp_path / "run", 24, side=24, seed=3)
    assert find_exit_code(found, FailOn.REPLICATED) is ExitCode.REPRODUCED
    monkeypatch.setattr(repetition, "find_finished_audit", lambda *given: found)
    done = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / "demo"), "--quiet"])
    assert done.exit_code == documented_code(place), done.output

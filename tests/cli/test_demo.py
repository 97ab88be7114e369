"""`imgaudit demo`: it audits the bundled images, and its exit code is the one that the documentation names."""

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from imgaudit.benchmark.reports.run import make_run
from imgaudit.cli import app
from imgaudit.cli.exit_codes import ExitCode, find_exit_code
from imgaudit.models.loading import bundled_lab
from imgaudit.runs import repetition
from imgaudit.schema.config import FailOn
from imgaudit.schema.protocol import Effort, Framing
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


def test_the_demo_audits_all_bundled_images_by_the_bank_that_comes_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    monkeypatch.setattr("imgaudit.cli.demo.audit_and_print", lambda *values: given.extend(values) or 0)
    done = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / "demo"), "--quiet"])
    assert done.exit_code == 0, done.output
    folders, model, out, config = given[:4]
    lab = bundled_lab("demo-128")
    assert (folders.targets, folders.calibration) == (lab / "portfolio", lab / "calibration.json")
    assert model.name == "demo-128" and out == tmp_path / "demo"
    assert (config.effort, config.framing, config.fail_on) == (Effort.QUICK, Framing.PAD, FailOn.NEVER)

"""`imgaudit benchmark methods`: the goals of every committed table, and labs that may report nothing."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from imgaudit.benchmark.methods.summary import collect_outcomes
from imgaudit.cli import app
from imgaudit.exceptions import InputError

LABS = Path(__file__).parent.parent.parent.parent / "examples" / "labs"


def test_every_goal_of_the_committed_tables_is_printed_with_its_n() -> None:
    found = CliRunner().invoke(app, ["benchmark", "methods", "demo", str(LABS / "v"), "--json"])
    assert found.exit_code == 0, found.output
    outcomes = json.loads(found.stdout)
    assert {(one["lab"], one["method"]) for one in outcomes} == {
        (lab, method) for lab in ("demo", "v") for method in ("prompt-detection", "invmm", "triggers")
    }
    for one in outcomes:
        for target in one["targets"]:
            assert " of " in target["got"] or "n " in target["got"], target
    lines = CliRunner().invoke(app, ["benchmark", "methods", "demo"]).stdout.splitlines()
    assert sum(line.startswith(("  met", "  MISSED")) for line in lines) == sum(
        len(one.targets) for one in collect_outcomes(["demo"])
    )


def test_labs_that_chose_settings_and_folders_without_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="chosen on the lab 'fit'"):
        collect_outcomes([str(LABS / "fit")])
    with pytest.raises(InputError, match="no table of a method"):
        collect_outcomes([str(tmp_path)])

"""The benchmark of large runs: its runs are sound, and what is printed is what was measured."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from imgaudit.benchmark.scale.bench import ScaleTable, SizeCost, format_scale
from imgaudit.benchmark.scale.stage import STAGES, StageCost
from imgaudit.cli import app


def make_table(*sizes: tuple[int, float, int]) -> ScaleTable:
    """A table of sizes: images, processor seconds and peak MiB of every stage."""
    results = [
        SizeCost(
            images=images,
            records=1,
            stages=[
                StageCost(
                    stage=stage, seconds=seconds, cpu_seconds=seconds, imported=2**29, peak=peak * 2**20, problems=0
                )
                for stage in STAGES
            ],
        )
        for images, seconds, peak in sizes
    ]  # fmt: skip
    return ScaleTable(machine="here", seed=1, replicas=2, versions={}, results=results)


def test_goals_are_judged_at_the_largest_size() -> None:
    lines = "\n".join(format_scale(make_table((1000, 10.0, 900), (100_000, 1300.0, 1537))))
    assert "MISSED peak memory of verify, 100,000 images: wanted at most 1,536 MiB, got 1,537 MiB" in lines
    assert "MISSED rate of render at 100,000, of that at 1,000: wanted at least 80%, got 77%" in lines
    met = "\n".join(format_scale(make_table((1000, 10.0, 900), (100_000, 1200.0, 1500))))
    assert "MISSED" not in met and "got 83%" in met


@pytest.mark.slow
def test_a_made_up_run_is_sound_through_every_stage(tmp_path: Path) -> None:
    table = tmp_path / "scale.json"
    command = ["benchmark", "scale", "--sizes", "12", "--replicas", "2", "--out", str(tmp_path / "work"), "--quiet"]
    measured = CliRunner().invoke(app, [*command, "--save", str(table)])
    assert measured.exit_code == 0, measured.output
    [size] = ScaleTable.read(table).results
    assert [one.stage for one in size.stages] == list(STAGES)
    assert all(0 < one.imported <= one.peak and one.cpu_seconds > 0 for one in size.stages)
    assert "met    problems in sound runs: wanted 0, got 0" in measured.stdout
    printed = CliRunner().invoke(app, ["benchmark", "scale", "--table", str(table), "--json"])
    assert json.loads(printed.stdout) == json.loads(table.read_text())
    assert not list((tmp_path / "work").iterdir())

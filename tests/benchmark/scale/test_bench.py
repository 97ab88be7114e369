"""The benchmark of large runs: its runs are sound, and what is printed is what was measured."""

import json
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from imgaudit.benchmark.scale import bench
from imgaudit.benchmark.scale.bench import ScaleTable, SizeCost, format_scale
from imgaudit.benchmark.scale.stage import STAGES, StageCost, run_stage
from imgaudit.benchmark.settings import ScaleSettings
from imgaudit.cli import app
from imgaudit.exceptions import InputError
from tests.support.wrapping import unwrap


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
    lines = unwrap(" ".join(format_scale(make_table((1000, 10.0, 900), (100_000, 1300.0, 1537)))))
    assert "MISSED peak memory of verify, 100,000 images: wanted at most 1,536 MiB, got 1,537 MiB" in lines
    assert "MISSED rate of render at 100,000, of that at 1,000: wanted at least 80%, got 77%" in lines
    met = "\n".join(format_scale(make_table((1000, 10.0, 900), (100_000, 1200.0, 1500))))
    assert "MISSED" not in met and "got 83%" in met


def test_the_table_fits_a_terminal() -> None:
    lines = list(format_scale(make_table((1000, 10.0, 900), (2_000_000, 123_456.7, 99_999))))
    table = lines[: lines.index("goals")]
    assert len(table) == 13 and max(map(len, table)) <= 80
    # No number runs into the next one.
    assert [len(line.split()) for line in table if line.startswith("2,000,000")] == [8] * 3


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
    # The run is gone, and what was finished is kept: the same command measures nothing again.
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["scale-12.json"]
    again = tmp_path / "again.json"
    assert CliRunner().invoke(app, [*command, "--save", str(again)]).exit_code == 0
    assert ScaleTable.read(again).results == [size]
    refused = CliRunner().invoke(app, [*command, "--seed", "2"])
    assert isinstance(refused.exception, InputError) and "other options" in str(refused.exception)


def test_a_killed_benchmark_goes_on_with_the_stage_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ScaleSettings(sizes="3", replicas=1, out=tmp_path, seed=1)
    asked = []

    def fail_once(run: Path, stage: str) -> StageCost:
        asked.append(stage)
        if asked.count("render") == 1 and stage == "render":
            raise RuntimeError("killed")
        assert (run / "records.jsonl").is_file()
        return StageCost(stage=stage, seconds=1, cpu_seconds=1, imported=1, peak=2, problems=0)

    monkeypatch.setattr(bench, "run_stage", fail_once)
    with pytest.raises(RuntimeError, match="killed"):
        bench.measure_scale(settings, lambda *_: None)
    made = []
    monkeypatch.setattr(bench, "make_measured_run", lambda *given, **more: made.append(given))
    [size] = bench.measure_scale(settings, lambda *_: None).results
    assert asked == ["conclude", "render", "render", "verify"] and not made
    assert [one.stage for one in size.stages] == list(STAGES) and size.records > 0
    assert not (tmp_path / "scale-3").exists()


def test_a_stage_that_was_cut_short_begins_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed rendering left would be passed over by the next one, which then would seem faster."""
    for name in ("report", "images"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "left").touch()
    (tmp_path / "report.json").touch()
    cost = StageCost(stage="render", seconds=1, cpu_seconds=1, imported=1, peak=2, problems=0)
    done = subprocess.CompletedProcess([], 0, stdout=cost.model_dump_json() + "\n", stderr="")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    assert run_stage(tmp_path, "render") == cost
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "report.json"]
    run_stage(tmp_path, "conclude")
    assert [path.name for path in tmp_path.iterdir()] == ["images"]

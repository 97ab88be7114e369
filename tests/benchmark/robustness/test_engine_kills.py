"""Audits by several processes are killed, and so is one of the processes; the result stays the same."""

from pathlib import Path
from random import Random
from types import SimpleNamespace

import psutil
import pytest

from imgaudit.benchmark.robustness import engine_kills
from imgaudit.benchmark.robustness.attack import RobustnessReport
from imgaudit.benchmark.robustness.bench import Bench
from imgaudit.benchmark.robustness.engine_kills import Divided, kill_engines, list_divided
from imgaudit.benchmark.robustness.interruptions import Undisturbed
from tests.support.commands import Commands


@pytest.mark.slow
def test_kills_of_the_command_and_of_one_process_lose_nothing(
    model_folder: Path, run_imgaudit: Commands, tmp_path: Path
) -> None:
    done = run_imgaudit(
        "benchmark", "robustness", "--model", model_folder, "--family", engine_kills.KILLED, "--engine-kills", "1",
        "--out", tmp_path, "--save", tmp_path / "table.json", "--quiet", timeout=1500,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    report = RobustnessReport.model_validate_json((tmp_path / "table.json").read_text())
    assert report.problems == [], done.stdout
    for way in list_divided():
        own = [tally for tally in report.tallies if tally.section == way.section]
        assert all(set(tally.states) == {"identical"} for tally in own)
        kinds = [tally.kind for tally in own]
        for ending in ("nothing killed", ": the command", ": one process"):
            assert sum(kind.endswith(ending) for kind in kinds) >= 1, (way.name, kinds)


def test_what_cannot_be_tried_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lacking = Divided("two of them", (), "mark", "not installed")
    monkeypatch.setattr(engine_kills, "list_divided", lambda: [lacking])
    bench = Bench("demo", tmp_path, Random(1))
    whole = Undisturbed(tmp_path, tmp_path, [], {}, 0, tmp_path)
    kill_engines(bench, whole, 0, lambda done, total: None)
    assert not bench.recorder.not_tried
    kill_engines(bench, whole, 3, lambda done, total: None)
    assert [(one.kind, one.reason) for one in bench.recorder.not_tried] == [("kills of two of them", "not installed")]


def test_a_command_that_has_ended_has_no_processes() -> None:
    way = list_divided()[0]
    gone = SimpleNamespace(process=SimpleNamespace(pid=psutil.pids()[-1] + 100_000_000))
    assert way.find_processes(gone) == []  # type: ignore[arg-type]

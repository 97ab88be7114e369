"""Every engine measures the same images in turn; times are told apart, and results compared."""

from contextlib import nullcontext
from pathlib import Path

import pytest

from imgaudit.benchmark.engines.report import EngineReport
from imgaudit.benchmark.engines.timing import ONE_PROCESS, Open, Work, time_in_turn
from imgaudit.io.captions import CaptionSource
from imgaudit.io.framing import to_image
from imgaudit.io.portfolio import read_portfolio
from imgaudit.models import FiniteSetDenoiser, LoadedModel
from imgaudit.runs.engine.in_process import InProcess
from imgaudit.similarity.matcher import standard_matcher
from tests.support.commands import Commands
from tests.support.engine_runs import CONFIG


@pytest.fixture
def work(finite_set: FiniteSetDenoiser, tmp_path: Path) -> Work:
    """Four images of a perfect memoriser, in chunks of two."""
    for number, point in enumerate(finite_set.points[:4]):
        to_image(point).save(tmp_path / f"{number}.png")
    portfolio = read_portfolio(tmp_path, CaptionSource(tmp_path))
    return Work(portfolio, LoadedModel(finite_set, "memoriser", "FiniteSetDenoiser", {}), CONFIG)


def test_engines_take_turns_and_what_they_find_is_compared(work: Work, finite_set: FiniteSetDenoiser) -> None:
    matcher, _ = standard_matcher(finite_set.resolution, "cpu")
    other = LoadedModel(FiniteSetDenoiser(finite_set.points.flip(2)), "other", "FiniteSetDenoiser", {})
    engines: dict[str, Open] = {
        ONE_PROCESS: nullcontext,
        "alike": lambda: nullcontext(InProcess(work.model, matcher, devices=("cpu",))),
        "other": lambda: nullcontext(InProcess(other, matcher, devices=("cpu", "cpu"))),
    }
    told: list[tuple[str, int, int]] = []
    runs = time_in_turn(work, engines, 2, lambda *stage: told.append(stage))
    assert [(run.engine, run.repeat) for run in runs] == [(name, repeat) for repeat in (0, 1) for name in engines]
    assert [run.same for run in runs] == [True, True, False] * 2
    assert [run.processes for run in runs[:3]] == [1, 1, 2]
    assert all(run.seconds > 0 and run.around_seconds > 0 for run in runs)
    assert told[0] == ("measuring by one process", 0, 6) and told[-1] == ("measuring by other", 5, 6)


@pytest.mark.slow
def test_the_benchmark_measures_every_engine(run_imgaudit: Commands, tmp_path: Path) -> None:
    done = run_imgaudit(
        "benchmark", "engines", "--count", "2", "--chunk-size", "1", "--repeats", "1", "--quiet",
        "--save", tmp_path / "table.json",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    report = EngineReport.read(tmp_path / "table.json")
    assert report.engines == ["one process", "workers", "ray"] and report.images == 2
    assert all(run.same for run in report.runs) and report.goals[-1].met, done.stdout
    assert "measured once, so without an interval" in done.stdout

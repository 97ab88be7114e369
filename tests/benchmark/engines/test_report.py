"""Ratios of engines have intervals, goals are met by bounds alone, and what differs or lacks is said."""

import pytest

from imgaudit.benchmark.engines.report import EngineReport, format_engines
from imgaudit.benchmark.engines.timing import EngineRun
from imgaudit.statistics import mean_interval


def make_report(times: dict[str, list[float]], *, processes: int = 2, same: bool = True) -> EngineReport:
    """A report of engines by their seconds in every repeat; each but one process takes 20 s to start and end."""
    runs = [
        EngineRun(
            engine=name, processes=1 if name == "one process" else processes, repeat=repeat, seconds=seconds[repeat],
            around_seconds=0 if name == "one process" else 20, same=same or name == "one process",
        )
        for repeat in range(len(times["one process"]))
        for name, seconds in times.items()
    ]  # fmt: skip
    return EngineReport(
        machine="m", model="demo", images=48, chunk_size=4, threads=1, runs=runs,
        without_ray="" if "ray" in times else "Ray is not installed",
    )  # fmt: skip


ONE = {"one process": [100.0, 200.0, 100.0]}


def test_ratios_are_over_one_process_in_the_same_repeat() -> None:
    report = make_report(ONE | {"workers": [52.0, 106.0, 51.0]})
    assert report.ratios("workers") == [0.52, 0.53, 0.51]
    assert report.ratios("workers", with_start=True) == [0.72, 0.63, 0.71]
    ends = mean_interval([0.52, 0.53, 0.51])
    [time, same] = report.goals
    assert time.got == f"0.520 ({ends.low:.3f} to {ends.high:.3f})" and time.met and same.met
    assert same.got == "6 of 6"


def test_a_goal_is_met_by_the_upper_bound_and_never_by_the_mean() -> None:
    # The mean is 0.53, at most 0.55; the interval ends above it.
    report = make_report(ONE | {"workers": [50.0, 106.0, 56.0], "ray": [59.0, 118.2, 59.2]})
    workers, ray, _ = report.goals
    assert not workers.met and mean_interval(report.ratios("workers")).high > 0.55
    assert ray.met and ray.wanted == "upper bound <= 0.60"


def test_what_was_measured_once_meets_no_goal() -> None:
    report = make_report({"one process": [100.0], "workers": [50.0]})
    assert not report.goals[0].met and "without an interval" in report.goals[0].got
    assert any("0.500" in line for line in format_engines(report))


@pytest.mark.parametrize("same", [True, False])
def test_what_differs_or_lacks_is_said(same: bool) -> None:
    report = make_report(ONE | {"workers": [52.0, 106.0, 51.0]}, same=same)
    lines = list(format_engines(report))
    assert any("DIFFERENT" in line for line in lines) is not same
    assert any("Ray is not installed" in line for line in lines) and max(map(len, lines)) <= 80
    assert report.goals[-1].met is same


def test_goals_are_those_of_two_processes() -> None:
    report = make_report(ONE | {"workers": [20.0, 20.0, 20.0]}, processes=8)
    assert [goal.got for goal in report.goals] == ["6 of 6"]

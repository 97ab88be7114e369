"""Ratios of engines, and what is said where they do not hold."""

from imgaudit.benchmark.speed.engines import EngineReport, EngineTime, format_engines


def make_report(workers: float, ray: float | None = None, *, processes: int = 2, same: bool = True) -> EngineReport:
    times = {"one process": 100.0, "workers": workers} | ({"ray": ray} if ray is not None else {})
    engines = [
        EngineTime(
            name=name, processes=1 if name == "one process" else processes, seconds=seconds,
            start_seconds=0 if name == "one process" else 20, same=same or name == "one process",
        )
        for name, seconds in times.items()
    ]  # fmt: skip
    return EngineReport(
        machine="m", model="demo", images=8, chunk_size=2, threads=1, engines=engines,
        without_ray="" if ray is not None else "Ray is not installed",
    )  # fmt: skip


def test_ratios_are_over_one_process_with_and_without_the_start() -> None:
    report = make_report(52.0, 61.0)
    assert [report.ratio(one) for one in report.engines] == [1.0, 0.52, 0.61]
    assert report.ratio(report.engines[1], with_start=True) == 0.72
    assert [(goal.met, "without an interval" in goal.got) for goal in report.goals] == [(False, True)] * 2
    assert any("0.52" in line and "the same" in line for line in format_engines(report))


def test_what_was_not_measured_or_differs_is_said() -> None:
    lines = list(format_engines(make_report(60.0, same=False)))
    assert any("DIFFERENT" in line for line in lines) and any("Ray is not installed" in line for line in lines)
    # The goals are those of two processes.
    assert make_report(20.0, processes=8).goals == []

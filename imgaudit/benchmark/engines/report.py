"""What engines take beside one process, with intervals, and the goals."""

from collections.abc import Iterator, Sequence
from statistics import fmean

from imgaudit.benchmark.engines.timing import ONE_PROCESS, EngineRun, explain_missing_ray, time_engines
from imgaudit.benchmark.harness.figures import Goal, format_goals
from imgaudit.benchmark.harness.lab_model import describe_machine
from imgaudit.benchmark.harness.procedure import OnStage, report_procedure
from imgaudit.benchmark.harness.table import Table
from imgaudit.benchmark.settings import EngineSettings
from imgaudit.schema.text import wrap_prose
from imgaudit.statistics import mean_interval

LARGEST = {"workers": 0.55, "ray": 0.60}
"""Share of the time of one process that two processes of an engine may take."""


class EngineReport(Table):
    """All runs."""

    machine: str
    """Machine and processors."""
    model: str
    """What was audited."""
    images: int
    """Images that every run measured."""
    chunk_size: int
    """Images measured together."""
    threads: int
    """Threads of each process."""
    runs: list[EngineRun]
    """In the order in which they were measured: every engine once, then every engine again."""
    without_ray: str = ""
    """Why Ray was not measured; empty where it was."""

    @property
    def engines(self) -> list[str]:
        """Names of the engines, one process first."""
        return list(dict.fromkeys(run.engine for run in self.runs))

    def of(self, engine: str) -> list[EngineRun]:
        """Return the runs of an engine, in order."""
        return [run for run in self.runs if run.engine == engine]

    def ratios(self, engine: str, *, with_start: bool = False) -> list[float]:
        """Return an engine's wall time over that of one process in the same repeat, for every repeat.

        with_start:  count the time before the first image and after the last one too, on both sides
        """

        def seconds(run: EngineRun) -> float:
            return run.seconds + run.around_seconds if with_start else run.seconds

        return [seconds(own) / seconds(one) for own, one in zip(self.of(engine), self.of(ONE_PROCESS), strict=True)]

    @property
    def goals(self) -> list[Goal]:
        """Goals: the time of two processes, and that all runs found the same."""
        goals = [_judge_time(name, self.ratios(name)) for name in self.engines if self._has_two(name)]
        same = sum(run.same for run in self.runs)
        name, got = "runs with the records and findings of the first run of one process", f"{same} of {len(self.runs)}"
        return [*goals, Goal.exact(name, "all", got, met=same == len(self.runs))]

    def _has_two(self, engine: str) -> bool:
        return engine in LARGEST and all(run.processes == 2 for run in self.of(engine))


def _judge_time(engine: str, ratios: Sequence[float]) -> Goal:
    name = f"wall time of two processes over one, {engine}"
    bound, got = LARGEST[engine], format_ratio(ratios)
    if len(ratios) < 2:
        return Goal.unmeasured(name, f"upper bound <= {bound:.2f}", f"{got}, measured once, so without an interval")
    return Goal.at_most(name, mean_interval(ratios), bound, wanted=f"upper bound <= {bound:.2f}", got=got)


def format_ratio(ratios: Sequence[float]) -> str:
    """Return the mean of one or more ratios, with Student's 95 % interval of the mean where there are several.

    >>> format_ratio([0.5, 0.52, 0.54]), format_ratio([0.5])
    ('0.520 (0.470 to 0.570)', '0.500')
    """
    if len(ratios) < 2:
        return f"{fmean(ratios):.3f}"
    ends = mean_interval(ratios)
    return f"{fmean(ratios):.3f} ({ends.low:.3f} to {ends.high:.3f})"


def format_engines(report: EngineReport) -> Iterator[str]:
    """Format one engine per line, and the goals."""
    yield f"{report.model}, {report.machine}"
    yield ""
    yield from _format_times(report)
    if report.without_ray:
        yield report.without_ray
    yield from format_goals(report.goals)


def _format_times(report: EngineReport) -> Iterator[str]:
    yield f"{report.images} images in chunks of {report.chunk_size}; threads of each process: {report.threads}"
    yield from wrap_prose(
        "seconds: wall time from the first image to the last, mean of all runs; start: the rest, as processes start, "
        "load the model and end (one process has its model already)"
    )
    yield from wrap_prose(
        "ratio: seconds over those of one process in the same repeat, with the 95 % interval of the mean; with start: "
        "the same of seconds and start together"
    )
    yield ""
    yield f"{'engine':13}{'processes':>9}{'runs':>6}{'seconds':>9}{'start':>7}  records, findings"
    for name in report.engines:
        runs = report.of(name)
        yield (
            f"{name:13}{runs[0].processes:9}{len(runs):6}{fmean(run.seconds for run in runs):9.1f}"
            f"{fmean(run.around_seconds for run in runs):7.1f}  "
            f"{'the same' if all(run.same for run in runs) else 'DIFFERENT'}"
        )
    if others := [name for name in report.engines if name != ONE_PROCESS]:
        yield ""
        yield f"{'engine':13}{'ratio':24}with start"
    for name in others:
        yield f"{name:13}{format_ratio(report.ratios(name)):24}{format_ratio(report.ratios(name, with_start=True))}"


def _measure(settings: EngineSettings, on_stage: OnStage) -> EngineReport:
    runs, images = time_engines(settings, on_stage)
    return EngineReport(
        machine=describe_machine(), model=settings.model, images=images, chunk_size=settings.chunk_size,
        threads=settings.threads, runs=runs, without_ray=explain_missing_ray(),
    )  # fmt: skip


PROCEDURE = report_procedure(EngineReport, _measure, format_engines)

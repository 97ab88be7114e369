"""Where the time of an audit goes, stage by stage, beside the time of the bare networks.

An audit is made of a few images, from their files to their records. The passes of the model's networks are recorded
and made again alone: the same networks on inputs of the same shapes, as often, and nothing else. What the audit takes
beyond that is the tool's own. Both are timed in turns, which first and which second alternating.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import torch

from imgaudit.benchmark.harness.figures import Goal, format_goals
from imgaudit.benchmark.harness.lab_model import describe_hardware
from imgaudit.benchmark.harness.lab_work import LabWork
from imgaudit.benchmark.harness.procedure import OnStage, ignore_stage, report_procedure
from imgaudit.benchmark.harness.table import Table
from imgaudit.benchmark.settings import SpeedSettings
from imgaudit.benchmark.speed.bare_audit import open_published
from imgaudit.benchmark.speed.network_calls import DENOISERS, Call, NetworkCalls
from imgaudit.benchmark.speed.stage_clock import STAGES, StageClock
from imgaudit.exceptions import InputError
from imgaudit.io.portfolio import Portfolio
from imgaudit.models.families.latent import LatentDenoiser
from imgaudit.models.loading import LoadedModel
from imgaudit.runs.busyness import observing
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.measurement import measure_targets
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.records import Record
from imgaudit.schema.text import wrap_prose
from imgaudit.similarity.matcher import standard_matcher
from imgaudit.statistics import mean_interval

LARGEST_RATIO = 1.05
"""Wall time of an audit over that of its networks alone, at most."""


class Stage(Record):
    """One stage of one round."""

    seconds: float
    """Wall time in the audit."""
    raw_seconds: float
    """Wall time of the same passes by the bare networks; 0 for a stage without any."""
    network_evaluations: int
    """Passes of one sample through the network that denoises; a backward pass counts as one more."""


class SpeedReport(Table):
    """All rounds."""

    model: str
    """What was audited."""
    hardware: str
    """Machine, device and threads."""
    busy: list[str]
    """Signs that other programs kept the machine busy; none on a quiet machine."""
    images: int
    """Images of the audit."""
    batch_size: int
    """Largest batch."""
    protocol_hash: str
    """What they went through."""
    rounds: list[dict[str, Stage]]
    """Every round: each stage by name."""

    def ratios(self, stages: Sequence[str] = STAGES) -> list[float]:
        """Return, of every round, wall time over raw time of some stages together; none where they have no passes."""
        sums = [
            (sum(one[name].seconds for name in stages), sum(one[name].raw_seconds for name in stages))
            for one in self.rounds
        ]
        return [seconds / raw for seconds, raw in sums if raw]

    @property
    def images_per_hour(self) -> list[float]:
        """Images an hour, of every round."""
        return [3600 * self.images / sum(stage.seconds for stage in one.values()) for one in self.rounds]

    @property
    def targets(self) -> list[Goal]:
        """The goal and its outcome."""
        name, wanted = "wall time of an audit over its raw network time", f"upper bound <= {LARGEST_RATIO}"
        ratios = self.ratios()
        if len(ratios) < 2:
            return [Goal.unmeasured(name, wanted, f"{fmean(ratios):.3f}, timed once: no interval")]
        ends = mean_interval(ratios)
        got = f"{_format_mean(ratios, 3)}, {len(ratios)} rounds"
        return [Goal.at_most(name, ends, LARGEST_RATIO, wanted=wanted, got=got)]


def measure_speed(
    model: LoadedModel,
    portfolio: Portfolio,
    config: AuditConfig,
    *,
    rounds: int,
    on_stage: OnStage = ignore_stage,
) -> SpeedReport:
    """Time audits of the same images, and the bare networks, in turns. Raises InputError for a model without networks.

    The first audit records the passes and is not timed: first passes are slow.
    """
    denoiser = model.denoiser
    if not isinstance(denoiser, LatentDenoiser):
        raise InputError(f"{model.name!r} has no networks to compare with")
    calls = NetworkCalls(denoiser)
    on_stage("recording the passes", 0, rounds)
    recorded, _ = _audit(calls, model, portfolio, config)
    raw = partial(_repeat, calls, recorded)
    audit = partial(_audit, calls, model, portfolio, config)
    found: list[dict[str, Stage]] = []
    with observing(on_processor=denoiser.device.type == "cpu") as busyness:
        for number in range(rounds):
            on_stage("timing", number, rounds)
            if number % 2:
                (made, seconds), alone = audit(), raw()
            else:
                alone = raw()
                made, seconds = audit()
            spent = {name: _count_evaluations(passes) for name, passes in made.items()}
            found.append(
                {
                    name: Stage(seconds=seconds[name], raw_seconds=alone.get(name, 0.0),
                                network_evaluations=spent.get(name, 0))
                    for name in STAGES
                }
            )  # fmt: skip
    return SpeedReport(
        model=model.name,
        hardware=describe_hardware(denoiser),
        busy=busyness.reasons,
        images=len(portfolio.targets),
        batch_size=config.largest_batch,
        protocol_hash=config.protocol.hash,
        rounds=found,
    )


def _audit(
    calls: NetworkCalls, model: LoadedModel, portfolio: Portfolio, config: AuditConfig
) -> tuple[dict[str, "Counted"], dict[str, float]]:
    """Measure images into a run folder that is removed; returns the passes and the seconds of each stage."""
    matcher, _ = standard_matcher(model.denoiser.resolution, calls.denoiser.device)
    clock = StageClock(calls.synchronize)
    with TemporaryDirectory() as folder, calls.recording(clock.begin_pass, clock.end_pass) as found:
        run = RunFolder(Path(folder) / "run")
        with run.lock():
            clock.start()
            measured = measure_targets(run, portfolio, model, config, matcher=matcher, on_step=clock.begin_step)
            count = sum(1 for _ in measured)
            clock.stop()
    if count < len(portfolio.targets):
        raise InputError(f"{len(portfolio.targets) - count} of {len(portfolio.targets)} images could not be measured")
    return dict(found), clock.seconds


Counted = dict[Call, int]


def _repeat(calls: NetworkCalls, recorded: dict[str, Counted]) -> dict[str, float]:
    return {name: calls.repeat(passes) for name, passes in recorded.items()}


def _count_evaluations(passes: Counted) -> int:
    own = {call: count for call, count in passes.items() if call.network in DENOISERS}
    return sum(count * call.shapes[0][0] * (2 if call.backward else 1) for call, count in own.items())


def format_speed(report: SpeedReport) -> Iterator[str]:
    """Format one stage per line, the sums, and the goal."""
    yield from wrap_prose(f"{report.model}, {report.hardware}")
    yield f"{report.images} images, batch {report.batch_size}, protocol {report.protocol_hash[:16]}"
    yield f"means of {len(report.rounds)} rounds, 95 % intervals"
    yield from (f"the machine was busy: {sign}" for sign in report.busy)
    if not report.busy:
        yield "the machine was quiet"
    yield ""
    yield f"{'stage':15}{'seconds':>8}{'share':>7}{'evaluations':>13}{'raw seconds':>13}  seconds / raw seconds"
    whole = fmean(sum(stage.seconds for stage in one.values()) for one in report.rounds)
    for name in STAGES:
        own = [one[name] for one in report.rounds]
        seconds, raw = (fmean(values) for values in ([s.seconds for s in own], [s.raw_seconds for s in own]))
        ratio = _format_mean(report.ratios([name]), 2) if raw else "-"
        alone = f"{raw:.2f}" if raw else "-"
        yield f"{name:15}{seconds:8.2f}{seconds / whole:7.1%}{own[0].network_evaluations:13,}{alone:>13}  {ratio}"
    evaluations = sum(stage.network_evaluations for stage in report.rounds[0].values())
    raw = fmean(sum(stage.raw_seconds for stage in one.values()) for one in report.rounds)
    yield f"{'everything':15}{whole:8.2f}{1:7.0%}{evaluations:13,}{raw:13.2f}  {_format_mean(report.ratios(), 3)}"
    yield ""
    yield f"images an hour: {_format_mean(report.images_per_hour, 0)}"
    yield from format_goals(report.targets)


def _format_mean(values: Sequence[float], digits: int) -> str:
    if len(values) < 2:
        return f"{values[0]:,.{digits}f}"
    ends = mean_interval(values)
    return f"{fmean(values):,.{digits}f} ({ends.low:,.{digits}f} to {ends.high:,.{digits}f})"


def _open(settings: SpeedSettings, on_stage: OnStage) -> tuple[LoadedModel, Portfolio, AuditConfig]:
    config = AuditConfig(
        effort=settings.effort, chunk_size=settings.count, batch_size=settings.batch_size, seed=settings.seed,
        device=settings.device,
    )  # fmt: skip
    if settings.published is not None:
        return *open_published(settings), config
    work = LabWork.open(settings, on_stage)
    # Any of the lab's images will do: times count, results do not.
    there = (image for image in work.lab.description.images if image.sha256 in work.located)
    images = sorted(there, key=lambda image: image.sha256)[: settings.count]
    if len(images) < settings.count:
        raise InputError(f"{len(images)} images of the lab are in the folder, and --count is {settings.count}")
    return work.lab.loaded, work.load(images), config.model_copy(update={"framing": work.framing})


def _measure(settings: SpeedSettings, on_stage: OnStage) -> SpeedReport:
    model, portfolio, config = _open(settings, on_stage)
    with torch.random.fork_rng(devices=[]):
        return measure_speed(model, portfolio, config, rounds=settings.rounds, on_stage=on_stage)


PROCEDURE = report_procedure(SpeedReport, _measure, format_speed)

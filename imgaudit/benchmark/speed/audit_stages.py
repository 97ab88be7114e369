"""Where the time of an audit goes, stage by stage, beside the raw time of the same network passes.

The raw time is that of the bare network on batches of the same size, forward alone or forward and backward to the
inputs, measured between the stages it is compared with; what a stage takes beyond it is the tool's own overhead.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean, median
from typing import TypeVar

import torch
from pydantic import Field

from imgaudit.benchmark.harness.cases import CaseCounts, choose_cases
from imgaudit.benchmark.harness.figures import Goal, format_goals
from imgaudit.benchmark.harness.lab_model import describe_hardware
from imgaudit.benchmark.harness.lab_work import LabWork
from imgaudit.benchmark.harness.procedure import OnStage, report_procedure
from imgaudit.benchmark.harness.table import Table
from imgaudit.benchmark.settings import SpeedSettings
from imgaudit.diffusion.denoiser import Denoiser, PromptEmbeds
from imgaudit.diffusion.denoising_error import measure_paired_errors
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.generation import Generated, draw_replica_seeds, generate
from imgaudit.diffusion.inversion import invert
from imgaudit.io.framing import to_batch
from imgaudit.io.portfolio import Target as AuditedImage
from imgaudit.schema.protocol import Protocol, protocol_for
from imgaudit.schema.records import Record, Rung
from imgaudit.similarity.matcher import Matcher
from imgaudit.statistics import mean_interval

Result = TypeVar("Result")

ROUNDS = 5
"""Times that everything is timed, so that the ratio has an interval."""

REPEATS = 5
"""Batches whose median is the raw time of one."""


class Stage(Record):
    """One part of the work on a chunk of images."""

    name: str
    """What is done."""
    seconds: float
    """Wall time."""
    network_evaluations: int
    """Passes of one sample; a backward pass counts as one more."""
    raw_seconds: float
    """Time the bare network takes for the same passes; 0 for stages without any."""

    @property
    def ratio(self) -> float | None:
        """Wall time over raw network time; None for stages without network passes."""
        return self.seconds / self.raw_seconds if self.raw_seconds else None


class SpeedReport(Table):
    """All stages."""

    hardware: str
    """Machine, device and threads."""
    images: int
    """Images measured together."""
    batch_size: int
    """Largest batch."""
    protocol_hash: str
    """What they went through."""
    stages: list[Stage]
    """In order."""
    network_ratio: float
    """Wall time of all stages with network passes over their raw network time."""
    total_ratio: float
    """Wall time of everything over the raw network time."""
    total_ratios: list[float] = Field(default_factory=list)
    """The same of every round; empty when it was timed once, as before rounds were kept."""

    @property
    def targets(self) -> list[Goal]:
        """Goals and outcomes."""
        name, wanted = "wall time of everything over raw network time", "upper bound <= 1.10"
        if len(self.total_ratios) < 2:
            return [Goal.unmeasured(name, wanted, f"{self.total_ratio:.2f}, timed once: no interval")]
        ends = mean_interval(self.total_ratios)
        got = f"{fmean(self.total_ratios):.2f} ({ends.low:.2f} to {ends.high:.2f}, {len(self.total_ratios)} rounds)"
        return [Goal.at_most(name, ends, 1.1, wanted=wanted, got=got)]


class Stopwatch:
    """Times stages of work on a denoiser, each beside the bare network."""

    def __init__(self, denoiser: Denoiser, batch_size: int) -> None:
        self.denoiser, self.batch_size = denoiser, batch_size
        self.stages: list[Stage] = []
        """What was timed so far."""
        # The first passes of a process are slow; nobody is to be compared with them.
        self.raw_seconds_per_sample(backward=True)

    def raw_seconds_per_sample(self, *, backward: bool) -> float:
        """Time of the bare network per sample of a full batch, in seconds: the median of several batches."""
        condition = self.denoiser.null_condition().repeat(self.batch_size)
        streams = {name: stream.clone().requires_grad_(backward) for name, stream in condition.streams.items()}
        condition = condition.with_streams(streams)
        generator = torch.Generator().manual_seed(0)
        noisy = torch.randn((self.batch_size, *self.denoiser.latent_shape), generator=generator)
        timesteps = torch.arange(self.batch_size) % self.denoiser.schedule.num_train_timesteps
        taken = []
        for _ in range(REPEATS):
            started = time.perf_counter()
            with torch.set_grad_enabled(backward):
                output = self.denoiser.predict(noisy, timesteps, condition).output
                if backward:
                    output.square().sum().backward()  # type: ignore[no-untyped-call]
            if output.is_cuda:
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - started)
        return median(taken) / self.batch_size

    def time(self, name: str, work: Callable[[], Result], *, backward_share: float = 0.0) -> Result:
        """Do the work and add a stage.

        backward_share:  part of its network evaluations that belongs to passes forward and backward
        """
        rates = [self._rate(backward_share)]
        before, started = self.denoiser.network_evaluations, time.perf_counter()
        result = work()
        seconds, spent = time.perf_counter() - started, self.denoiser.network_evaluations - before
        rates.append(self._rate(backward_share))
        raw = spent * sum(rates) / 2
        self.stages.append(Stage(name=name, seconds=seconds, network_evaluations=spent, raw_seconds=raw))
        return result

    def _rate(self, backward_share: float) -> float:
        """Raw seconds per network evaluation of a mix of passes."""
        rate = (1 - backward_share) * self.raw_seconds_per_sample(backward=False)
        if backward_share:
            rate += backward_share * self.raw_seconds_per_sample(backward=True) / 2
        return rate


def measure_speed(
    denoiser: Denoiser,
    targets: Sequence[AuditedImage],
    protocol: Protocol,
    *,
    run_seed: int,
    batch_size: int,
) -> SpeedReport:
    """Time every stage on one chunk of images, with the functions that an audit calls."""
    executor, matcher = Executor(batch_size), Matcher()
    watch = Stopwatch(denoiser, batch_size)
    sha256s = [target.image.sha256 for target in targets]
    framed = to_batch((target.load().pixels for target in targets), denoiser.resolution, protocol.framing)
    latents = watch.time("encoding", lambda: denoiser.encode(framed))
    rendered = watch.time("decoding", lambda: denoiser.decode(latents))

    inversion = watch.time(
        "inversion",
        lambda: invert(denoiser, latents, sha256s, protocol.inversion, run_seed=run_seed, executor=executor),
        backward_share=1.0,
    )
    embeds = inversion.prompt_embeds
    watch.time(
        "denoising error",
        lambda: measure_paired_errors(
            denoiser, latents, sha256s, embeds, protocol.error, run_seed=run_seed, executor=executor
        ),
    )
    captions = denoiser.condition([target.texts.get(Rung.CAPTION, [""])[0] for target in targets])
    sampling = protocol.generation
    seeds = [draw_replica_seeds(run_seed, sha256, sampling.seeds) for sha256 in sha256s]

    def sample(condition: PromptEmbeds) -> list[list[Generated]]:
        return [
            batch
            for scale in sampling.guidance_scales
            for batch in generate(
                denoiser, condition, seeds, guidance_scale=scale, num_inference_steps=sampling.num_inference_steps,
                executor=executor,
            )
        ]  # fmt: skip

    frames = watch.time("replicas, caption", lambda: sample(captions))
    frames += watch.time("replicas, embedding", lambda: sample(embeds))

    def match() -> None:
        for number, batch in enumerate(frames):
            valid = [frame.image for frame in batch if frame.invalid is None]
            if valid:
                matcher.compare(rendered[number % len(targets)], torch.stack(valid))

    watch.time("matching", match)
    networked = [stage for stage in watch.stages if stage.network_evaluations]
    raw = sum(stage.raw_seconds for stage in networked)
    seconds = sum(stage.seconds for stage in networked)
    whole = sum(stage.seconds for stage in watch.stages)
    return SpeedReport(
        hardware=describe_hardware(denoiser),
        images=len(targets),
        batch_size=batch_size,
        protocol_hash=protocol.hash,
        stages=watch.stages,
        network_ratio=seconds / raw,
        total_ratio=whole / raw,
    )


def format_speed(report: SpeedReport) -> Iterator[str]:
    """Format one stage per line, both ratios, and the goal."""
    yield f"{report.images} images, batch {report.batch_size}, protocol {report.protocol_hash[:16]}, {report.hardware}"
    yield ""
    yield f"{'stage':24}{'seconds':>9}{'network evaluations':>21}{'raw seconds':>13}{'ratio':>8}"
    for stage in report.stages:
        ratio = f"{stage.ratio:.2f}" if stage.ratio is not None else "-"
        yield f"{stage.name:24}{stage.seconds:9.2f}{stage.network_evaluations:21}{stage.raw_seconds:13.2f}{ratio:>8}"
    yield ""
    yield f"stages with network passes: {report.network_ratio:.2f} x raw network time"
    yield f"everything: {report.total_ratio:.2f} x raw network time"
    yield from format_goals(report.targets)


def _measure(settings: SpeedSettings, on_stage: OnStage) -> SpeedReport:
    work = LabWork.open(settings, on_stage)
    cases = choose_cases(work.lab.description, CaseCounts())
    images = [image for image in cases.measured if image.sha256 in work.located][: settings.count]
    targets, protocol = work.load(images).targets, protocol_for(settings.effort, work.framing)
    rounds = []
    for done in range(ROUNDS):
        on_stage("timing", done, ROUNDS)
        rounds.append(
            measure_speed(work.denoiser, targets, protocol, run_seed=work.seed, batch_size=settings.batch_size)
        )
    return rounds[0].model_copy(update={"total_ratios": [one.total_ratio for one in rounds]})


PROCEDURE = report_procedure(SpeedReport, _measure, format_speed)

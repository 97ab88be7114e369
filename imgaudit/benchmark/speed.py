"""Where the time of an audit goes, stage by stage, beside the raw time of the same network passes.

The raw time is that of the bare network on batches of the same size, forward alone or forward and backward to the
inputs, measured between the stages it is compared with; what a stage takes beyond it is the tool's own overhead.
"""

import time
from collections.abc import Callable, Sequence
from statistics import median

import torch

from imgaudit.config import Protocol
from imgaudit.denoiser import Denoiser
from imgaudit.denoising_error import measure_paired_errors
from imgaudit.executor import Executor
from imgaudit.generation import Generated, generate, replica_seeds
from imgaudit.images import frame_image, to_tensor
from imgaudit.inversion import invert
from imgaudit.matching import Matcher
from imgaudit.portfolio import Target
from imgaudit.records import Record, Rung

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


class SpeedReport(Record):
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


def raw_seconds_per_sample(denoiser: Denoiser, batch_size: int, *, backward: bool) -> float:
    """Time of the bare network per sample of a full batch, in seconds: the median of five batches."""
    condition = denoiser.null_condition().repeat(batch_size)
    streams = {name: stream.clone().requires_grad_(backward) for name, stream in condition.streams.items()}
    condition = condition.with_streams(streams)
    noisy = torch.randn((batch_size, *denoiser.latent_shape), generator=torch.Generator().manual_seed(0))
    timesteps = torch.arange(batch_size) % denoiser.schedule.num_train_timesteps
    taken = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        with torch.set_grad_enabled(backward):
            output = denoiser.predict(noisy, timesteps, condition).output
            if backward:
                output.square().sum().backward()  # type: ignore[no-untyped-call]
        _settle(output.device)
        taken.append(time.perf_counter() - started)
    return median(taken) / batch_size


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure_speed(
    denoiser: Denoiser,
    targets: Sequence[Target],
    protocol: Protocol,
    *,
    hardware: str,
    run_seed: int,
    batch_size: int,
    matcher: Matcher | None = None,
) -> SpeedReport:
    """Time every stage on one chunk of images, with the functions that an audit calls."""
    executor, matcher = Executor(batch_size), matcher or Matcher()
    sha256s = [target.image.sha256 for target in targets]
    framed = torch.stack(
        [to_tensor(frame_image(t.image.pixels, denoiser.resolution, protocol.framing)) for t in targets]
    )
    stages: list[Stage] = []

    def timed(
        name: str, work: Callable[[], object], *, backward_share: float | None = 0.0, batch: int = batch_size
    ) -> None:
        """backward_share: evaluations that belong to forward-and-backward passes; None: no network passes."""
        before, started = denoiser.network_evaluations, time.perf_counter()
        work()
        seconds, spent = time.perf_counter() - started, denoiser.network_evaluations - before
        raw = 0.0
        if backward_share is not None and spent:
            forward = raw_seconds_per_sample(denoiser, batch, backward=False)
            both = raw_seconds_per_sample(denoiser, batch, backward=True) if backward_share else 0.0
            raw = spent * ((1 - backward_share) * forward + backward_share * both / 2)
        stages.append(Stage(name=name, seconds=seconds, network_evaluations=spent, raw_seconds=raw))

    kept: dict[str, object] = {}

    def encode() -> None:
        kept["latents"] = denoiser.encode(framed)
        kept["references"] = denoiser.decode(latents())

    def latents() -> torch.Tensor:
        value = kept["latents"]
        assert isinstance(value, torch.Tensor)
        return value

    raw_seconds_per_sample(denoiser, batch_size, backward=True)  # the first passes of a process are slow
    timed("autoencoder", encode, backward_share=None)
    inverting, draws = protocol.inversion, len(targets) * protocol.inversion.draws
    share = 2 * inverting.steps / (2 * inverting.steps + min(inverting.paired_steps, inverting.steps))
    inversion = None

    def run_inversion() -> None:
        nonlocal inversion
        inversion = invert(denoiser, latents(), sha256s, inverting, run_seed=run_seed, executor=executor)

    timed("inversion", run_inversion, backward_share=share, batch=min(batch_size, draws))
    assert inversion is not None
    embeds = inversion.prompt_embeds
    timed(
        "denoising error",
        lambda: measure_paired_errors(
            denoiser, latents(), sha256s, embeds, protocol.error, run_seed=run_seed, executor=executor
        ),
    )
    frames: list[list[Generated]] = []
    seeds = [replica_seeds(run_seed, sha256, protocol.generation.seeds) for sha256 in sha256s]
    captions = denoiser.condition([target.texts.get(Rung.CAPTION, "") for target in targets])
    for name, condition in (("replicas, caption", captions), ("replicas, embedding", embeds)):

        def sample(condition=condition) -> None:  # type: ignore[no-untyped-def]
            for scale in protocol.generation.guidance_scales:
                frames.extend(
                    generate(
                        denoiser, condition, seeds, guidance_scale=scale,
                        num_inference_steps=protocol.generation.num_inference_steps, executor=executor,
                    )
                )  # fmt: skip

        timed(name, sample)
    references = kept["references"]
    assert isinstance(references, torch.Tensor)

    def compare() -> None:
        for number, batch in enumerate(frames):
            valid = [frame.image for frame in batch if frame.invalid is None]
            if valid:
                matcher.compare(references[number % len(targets)], torch.stack(valid))

    timed("matching", compare, backward_share=None)
    networked = [stage for stage in stages if stage.raw_seconds]
    raw = sum(stage.raw_seconds for stage in networked)
    return SpeedReport(
        hardware=hardware,
        images=len(targets),
        batch_size=batch_size,
        protocol_hash=protocol.hash,
        stages=stages,
        network_ratio=sum(stage.seconds for stage in networked) / raw,
        total_ratio=sum(stage.seconds for stage in stages) / raw,
    )

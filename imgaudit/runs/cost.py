"""What a model costs on this device: a few passes are timed and their memory is counted, before anything is audited.

Both are estimates. Time is that of batches that are quick to run, which may be smaller than the audit's, on a machine
that may be busier later. Memory grows evenly with the batch, from what one and two samples take; what operators and
allocators take for themselves is not in it.
"""

import io
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Literal

import torch

from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.executor import is_out_of_memory
from imgaudit.diffusion.memory import measure_free_bytes, measure_held_bytes, measure_peak_bytes
from imgaudit.diffusion.passes import Passes
from imgaudit.io.framing import to_image
from imgaudit.models.loading import LoadedModel
from imgaudit.runs.busyness import LEAST_SHARE, Busyness, observing
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.manifest import read_manifest
from imgaudit.runs.work import Work
from imgaudit.schema.config import UNMEASURED_BATCH, AuditConfig
from imgaudit.schema.protocol import Protocol
from imgaudit.similarity.matcher import Matcher
from imgaudit.similarity.parts import LEAST_SIDE, compare_images

REPEATS = 3
"""Timed batches, of which the median counts."""

ESTIMATES = 3
"""Estimates of the time, each from its own timings; the middle one counts, and the others are the range."""

SPREAD = 1.5
"""Factor between the longest and the shortest estimate from which on the times measured contradict each other."""

ENOUGH = 0.3
"""Seconds that a batch may take before larger ones are no longer tried: a sample's share hardly falls further."""

SHORT, LONG = 2, 6
"""Sampling steps of two timed runs, whose difference is that of steps alone."""

SHARE = 0.8
"""Part of the free memory that counted bytes may fill; the rest is for what is not counted."""

STAGES = ("backward", "forward", "decode", "encode")
"""Passes that an audit makes in batches."""


@dataclass(frozen=True)
class Memory:
    """Bytes of tensors of each stage, beyond the weights."""

    one: dict[str, int]
    """Bytes for a single sample, by stage."""
    more: dict[str, int]
    """Bytes for each further sample in the same batch, by stage."""

    def of(self, stage: str, samples: int) -> int:
        """Bytes of one stage."""
        return self.one[stage] + self.more[stage] * (samples - 1)

    def peak(self, protocol: Protocol, *, chunk_size: int, batch_size: int) -> tuple[int, str]:
        """Bytes of the stage that takes most in the largest slices that a batch allows, and its name."""
        sampled = batch_size if min(protocol.generation.guidance_scales) <= 1 else max(1, batch_size // 2)
        samples = {
            "backward": min(batch_size, chunk_size * protocol.inversion.draws),
            "forward": batch_size,
            "decode": max(sampled, min(batch_size, chunk_size)),
            "encode": min(batch_size, chunk_size),
        }
        return max((self.of(stage, count), stage) for stage, count in samples.items())


def measure_memory(passes: Passes) -> Memory:
    """Count the bytes of every stage, for one sample and for two."""

    def counted(stage: str, samples: int) -> int:
        return measure_peak_bytes(partial(getattr(passes, stage), samples), passes.device)

    one = {stage: counted(stage, 1) for stage in STAGES}
    return Memory(one, {stage: max(0, counted(stage, 2) - one[stage]) for stage in STAGES})


def automatic_batch(memory: Memory, protocol: Protocol, *, chunk_size: int, free: int) -> int:
    """The largest power of two, up to 64, whose counted bytes fit into a share of the free ones; at least 1.

    Powers of two, so that a little more or less of free memory gives the same batch and with it the same numbers.
    """
    batch = UNMEASURED_BATCH
    while batch > 1 and memory.peak(protocol, chunk_size=chunk_size, batch_size=batch)[0] > SHARE * free:
        batch //= 2
    return batch


def measured_batch(denoiser: Denoiser, protocol: Protocol, *, chunk_size: int, sharing: int = 1) -> int:
    """The automatic batch of a model on its device; one that has no room for a single image spares memory from now on.

    sharing:  processes that use the device's memory at the same time, each a like part of it
    Where memory runs out while it is measured, the batch is 1.
    """
    passes = Passes(denoiser)
    try:
        memory = measure_sparing(passes)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return 1
    free = measure_free_bytes(passes.device) // sharing
    return automatic_batch(memory, protocol, chunk_size=chunk_size, free=free)


def resolve_batch_size(
    config: AuditConfig, sources: Mapping[str, str], model: LoadedModel, run: RunFolder, *, sharing: int = 1
) -> tuple[AuditConfig, Mapping[str, str], str]:
    """The configuration with a number for its batch size: the run's own, or as many samples as free memory holds.

    sources:  where each option's value comes from
    sharing:  processes that use the device's memory at the same time
    Returns the configuration, the sources, and a sentence for the user, empty when there is nothing to say.
    """
    if config.batch_size != "auto":
        return config, sources, ""
    if run.manifest_path.is_file():
        # Another batch would change the last digits of what is still to be measured.
        batch, source, note = read_manifest(run).batch_size, "the run", ""
    else:
        batch = measured_batch(model.denoiser, config.protocol, chunk_size=config.chunk_size, sharing=sharing)
        images = "1 image" if batch == 1 else f"{batch} images"
        source, note = "free memory", f"the network is given up to {images} at once, as free memory allows"
    return config.model_copy(update={"batch_size": batch}), {**sources, "batch_size": source}, note


def measure_sparing(passes: Passes) -> Memory:
    """As `measure_memory`, once more with memory spared when not even one image would fit otherwise."""
    memory = measure_memory(passes)
    if memory.of("backward", 1) > measure_free_bytes(passes.device) and passes.denoiser.spare_memory():
        memory = measure_memory(passes)
    return memory


@dataclass(frozen=True)
class Seconds:
    """Time of one sample of each kind of work, in batches of `batch`."""

    batch: int
    """Samples that were timed together."""
    backward: float
    """Network forward and backward."""
    forward: float
    """Network forward."""
    plain_step: float
    """Sampling step without guidance; 0 where the protocol has none."""
    guided_step: float
    """Sampling step under guidance; 0 where the protocol has none."""
    frame: float
    """Time that a generated image takes besides its steps: decoding, matching, writing."""
    image: float
    """Encoding and decoding of the image itself."""

    def of(self, work: Work) -> float:
        """Time of some work."""
        return (
            work.backward * self.backward
            + work.forward * self.forward
            + work.plain_steps * self.plain_step
            + work.guided_steps * self.guided_step
            + (work.frames + work.checked) * self.frame
            + work.images * self.image
        )

    @property
    def is_contradictory(self) -> bool:
        """True when a part took longer than a whole that it belongs to, as happens where other programs run meanwhile.

        A pass forward is half of one forward and backward, or less. A sampling step has one pass forward, or two under
        guidance; half of that is allowed for, as a step is timed as a difference.
        """
        steps = ((self.plain_step, self.forward / 2), (self.guided_step, self.forward))
        return self.forward > self.backward or any(0 < step < least for step, least in steps)


def measure_seconds(passes: Passes, protocol: Protocol, matcher: Matcher, *, batch: int) -> Seconds:
    """Time every kind of work that a protocol asks for.

    batch:  samples that are timed together
    """
    steps, frames = {True: 0.0, False: 0.0}, []
    scales = [*protocol.generation.guidance_scales, *(protocol.invmm.guidance_scales if protocol.invmm else ())]
    for guided in sorted({scale > 1 for scale in scales}):
        images = max(1, batch // 2) if guided else batch
        # The first run is slow, and would make steps look fast.
        passes.sample(images, SHORT, guided=guided)
        short, long = (
            _median(passes, partial(passes.sample, images, count, guided=guided)) / images for count in (SHORT, LONG)
        )
        steps[guided] = max(0.0, long - short) / (LONG - SHORT)
        frames.append(max(0.0, short - SHORT * steps[guided]))
    return Seconds(
        batch=batch,
        backward=_median(passes, partial(passes.backward, batch)) / batch,
        forward=_median(passes, partial(passes.forward, batch)) / batch,
        plain_step=steps[False],
        guided_step=steps[True],
        frame=max(frames) + _finishing(passes, matcher),
        image=sum(_median(passes, partial(work, batch)) for work in (passes.encode, passes.decode)) / batch,
    )


def _timed_batch(passes: Passes, most: int) -> int:
    """The smallest power of two that takes long enough to be timed, or the largest batch."""
    batch = 1
    # The first passes of a process are slow.
    passes.backward(1)
    # The shorter of two times: one alone may be long because another program ran meanwhile.
    while 2 * batch <= most and min(_timed(passes, partial(passes.backward, batch)) for _ in range(2)) < ENOUGH:
        batch *= 2
    return batch


def _finishing(passes: Passes, matcher: Matcher) -> float:
    """Time to compare, as a whole and in parts where the images are large enough, and to compress a generated image."""
    frames = passes.sample(2, SHORT, guided=False).nan_to_num(nan=-1.0).clamp(-1, 1)
    in_parts = min(frames.shape[-2:]) >= LEAST_SIDE

    def finish() -> None:
        matcher.compare(frames[0], frames)
        for frame in frames:
            to_image(frame).save(io.BytesIO(), format="PNG")
            if in_parts:
                compare_images(frames[0], frame)

    return _median(passes, finish) / len(frames)


def _median(passes: Passes, work: Callable[[], object]) -> float:
    return statistics.median(_timed(passes, work) for _ in range(REPEATS))


def _timed(passes: Passes, work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    passes.synchronize()
    return time.perf_counter() - started


@dataclass(frozen=True)
class Cost:
    """Estimated time and memory of an audit."""

    device: str
    """Device on which it was measured."""
    threads: int
    """Number of processor threads."""
    batch_size: int
    """Largest network batch: as asked for, or chosen."""
    seconds: Seconds
    """Measured times, in seconds."""
    total_seconds: float
    """Estimated time for all images together, in seconds."""
    least_seconds: float
    """The time by the shortest of all times measured for each kind of work, and with a processor of its own, in
    seconds."""
    most_seconds: float
    """The time by the longest of all times measured for each kind of work, in seconds."""
    held: int
    """Bytes taken with the model loaded: by tensors on a CUDA device, by the process elsewhere."""
    tensors: int
    """Bytes of tensors on top, in the stage that takes most."""
    stage: str
    """That stage."""
    waiting: int
    """Bytes of main memory in which the generated images of a chunk wait until it is finished."""
    free: int
    """Bytes that were free on the device with the model loaded."""
    is_contradictory: bool
    """True when the times contradict each other, also measured once more: other programs keep the machine busy."""
    busyness: Busyness
    """How busy the machine was meanwhile."""

    @property
    def peak_bytes(self) -> int:
        """Bytes of the device's memory; on the CPU, the generated images are among them."""
        return self.held + self.tensors + (0 if self.device.startswith("cuda") else self.waiting)


def estimate_cost(
    denoiser: Denoiser,
    protocol: Protocol,
    works: Sequence[Work],
    matcher: Matcher,
    *,
    chunk_size: int,
    batch_size: int | Literal["auto"],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Cost:
    """Measure what a few passes take and multiply. Times that contradict each other are measured once more.

    works:  what every image takes at most, one or more
    on_progress:  called with the number of measurements made and the number of all
    """
    passes = Passes(denoiser)
    held, free = measure_held_bytes(passes.device), measure_free_bytes(passes.device)
    if batch_size == "auto":
        memory = measure_sparing(passes)
        batch = automatic_batch(memory, protocol, chunk_size=chunk_size, free=free)
    else:
        memory, batch = measure_memory(passes), batch_size
    tensors, stage = memory.peak(protocol, chunk_size=chunk_size, batch_size=batch)
    whole = sum(works, Work())

    def measure(before: int) -> list[Seconds]:
        estimates = []
        for number in range(ESTIMATES):
            on_progress(before + number, before + ESTIMATES)
            estimates.append(measure_seconds(passes, protocol, matcher, batch=timed))
        on_progress(before + ESTIMATES, before + ESTIMATES)
        return sorted(estimates, key=lambda one: one.of(whole))

    with observing(on_processor=str(passes.device) == "cpu") as busyness:
        timed = _timed_batch(passes, batch)
        every = estimates = measure(1)
        if contradictory := _contradict(estimates, whole):
            estimates = measure(1 + ESTIMATES)
            every = every + estimates
            contradictory = _contradict(estimates, whole)
    seconds = estimates[ESTIMATES // 2]
    share = busyness.share if busyness.share < LEAST_SHARE else 1.0
    frames = max(work.frames for work in works) * min(chunk_size, len(works))
    return Cost(
        device=str(passes.device),
        threads=torch.get_num_threads(),
        batch_size=batch,
        seconds=seconds,
        total_seconds=seconds.of(whole),
        least_seconds=share * _gather(every, min).of(whole),
        most_seconds=_gather(every, max).of(whole),
        held=held,
        tensors=tensors,
        stage=stage,
        waiting=frames * 3 * denoiser.resolution**2 * 4,
        free=free,
        is_contradictory=contradictory,
        busyness=busyness,
    )


def _gather(estimates: Sequence[Seconds], choose: Callable[..., float]) -> Seconds:
    """Return the shortest or the longest time of each kind of work, over all estimates."""
    kinds = [one.name for one in fields(Seconds) if one.name != "batch"]
    chosen: dict[str, Any] = {kind: choose(getattr(one, kind) for one in estimates) for kind in kinds}
    return replace(estimates[0], **chosen)


def _contradict(estimates: Sequence[Seconds], whole: Work) -> bool:
    """Tell whether times contradict each other, within an estimate or between the shortest and the longest.

    estimates:  in the order of their totals
    """
    apart = estimates[-1].of(whole) > SPREAD * estimates[0].of(whole)
    return apart or any(one.is_contradictory for one in estimates)


def format_bytes(count: float) -> str:
    """Format a size of memory.

    >>> format_bytes(3 * 2**20), format_bytes(3 * 2**29)
    ('3 MiB', '1.50 GiB')
    """
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"

"""What `--compile` gains and costs on one model: the same passes with and without it, in turns."""

import importlib.metadata
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

import numpy as np
from scipy import stats
from torch._inductor import config as inductor_config

from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.passes import Passes
from imgaudit.models import load_model
from imgaudit.schema.records import Record

PAIRS = 15
"""Timed pairs of each pass."""

SAMPLING_STEPS = 10
"""Of the timed sampling."""


class CompiledPass(Record):
    """One kind of pass."""

    name: str
    """What is computed."""
    plain_seconds: float
    """Median without compiling."""
    compiled_seconds: float
    """Median with it."""
    gain: float
    """Median over the pairs of plain over compiled time; above 1 compiling is faster."""
    low: float
    """Bootstrap 95 %, percentiles over the pairs."""
    high: float
    """Bootstrap 95 %."""


class CompileReport(Record):
    """All passes."""

    model: str
    """What was timed."""
    hardware: str
    """Machine, device and threads."""
    torch: str
    """Version."""
    batch_size: int
    """Samples in every pass."""
    pairs: int
    """Timed pairs of each pass."""
    wait_seconds: float
    """What loading and the first passes took longer with compiling than without."""
    passes: list[CompiledPass]
    """Each kind."""


def measure_compilation(
    model: str,
    *,
    device: str,
    batch_size: int,
    hardware: Callable[[Denoiser], str],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> CompileReport:
    """Time a model with and without compiled blocks.

    hardware:  describes a denoiser's machine and device
    """
    waits, both = [], []
    for compiled in (False, True):
        started = time.perf_counter()
        # What an earlier process compiled would hide the wait.
        with inductor_config.patch(force_disable_caches=True), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="dynamo_pgo force disabled")
            passes = Passes(load_model(model, device, compiled=compiled).denoiser)
            for work in _kinds(passes, batch_size).values():
                work()
        passes.synchronize()
        waits.append(time.perf_counter() - started)
        both.append(passes)
    kinds: list[CompiledPass] = []
    plain, fast = (_kinds(passes, batch_size) for passes in both)
    for name in plain:
        pairs = [(_timed(both[0], plain[name]), _timed(both[1], fast[name])) for _ in range(PAIRS)]
        kinds.append(_compare(name, pairs))
        on_progress(len(kinds), len(plain))
    return CompileReport(
        model=model, hardware=hardware(both[0].denoiser), torch=importlib.metadata.version("torch"),
        batch_size=batch_size, pairs=PAIRS, wait_seconds=waits[1] - waits[0], passes=kinds,
    )  # fmt: skip


def _kinds(passes: Passes, batch_size: int) -> dict[str, Callable[[], object]]:
    return {
        "forward and backward": partial(passes.backward, batch_size),
        "forward": partial(passes.forward, batch_size),
        f"sampling, {SAMPLING_STEPS} guided steps": partial(
            passes.sample, max(1, batch_size // 2), SAMPLING_STEPS, guided=True
        ),
    }


def _timed(passes: Passes, work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    passes.synchronize()
    return time.perf_counter() - started


def _compare(name: str, pairs: Sequence[tuple[float, float]]) -> CompiledPass:
    gains = np.array([plain / compiled for plain, compiled in pairs])
    resampled = stats.bootstrap((gains,), np.median, method="percentile", rng=np.random.default_rng(0))
    interval = resampled.confidence_interval
    return CompiledPass(
        name=name,
        plain_seconds=median(plain for plain, _ in pairs),
        compiled_seconds=median(compiled for _, compiled in pairs),
        gain=float(np.median(gains)),
        low=float(interval.low),
        high=float(interval.high),
    )

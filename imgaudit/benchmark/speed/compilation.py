"""What `--compile` gains and costs on one model: the same passes with and without it, in turns."""

import importlib.metadata
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from statistics import median

import numpy as np
from torch._inductor import config as inductor_config

from imgaudit.benchmark.harness.lab_model import describe_hardware
from imgaudit.benchmark.harness.procedure import OnStage, report_procedure
from imgaudit.benchmark.harness.table import Table
from imgaudit.benchmark.settings import CompileSettings
from imgaudit.diffusion.passes import Passes
from imgaudit.models import load_model
from imgaudit.schema.records import Record
from imgaudit.statistics import bootstrap_mean

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


class CompileReport(Table):
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


def measure_compilation(settings: CompileSettings, on_stage: OnStage) -> CompileReport:
    """Time a model with and without compiled blocks."""
    model, batch_size = settings.model, settings.batch_size
    waits, both = [], []
    for compiled in (False, True):
        started = time.perf_counter()
        # What an earlier process compiled would hide the wait.
        with inductor_config.patch(force_disable_caches=True), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="dynamo_pgo force disabled")
            passes = Passes(load_model(model, settings.device, compiled=compiled).denoiser)
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
        on_stage("timing", len(kinds), len(plain))
    return CompileReport(
        model=model, hardware=describe_hardware(both[0].denoiser), torch=importlib.metadata.version("torch"),
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
    gains = [plain / compiled for plain, compiled in pairs]
    interval = bootstrap_mean(gains, resamples=9999, statistic=np.median)
    return CompiledPass(
        name=name,
        plain_seconds=median(plain for plain, _ in pairs),
        compiled_seconds=median(compiled for _, compiled in pairs),
        gain=median(gains),
        low=interval.low,
        high=interval.high,
    )


def format_compilation(report: CompileReport) -> Iterator[str]:
    """Format one kind of pass per line."""
    yield f"{report.model}, batch {report.batch_size}, {report.hardware}, torch {report.torch}"
    yield f"medians of {report.pairs} pairs, 95 % interval of the gain; {report.wait_seconds:.0f} s to compile"
    yield ""
    yield f"{'':28}{'plain ms':>10}{'compiled ms':>13}{'gain':>7}"
    for one in report.passes:
        yield (
            f"{one.name:28}{1000 * one.plain_seconds:10.1f}{1000 * one.compiled_seconds:13.1f}{one.gain:7.2f}"
            f"  ({one.low:.2f} to {one.high:.2f})"
        )


PROCEDURE = report_procedure(CompileReport, measure_compilation, format_compilation)

"""One image measured by an adapter from end to end, on the smallest budget."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from imgaudit.diffusion.context import MeasurementContext
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.measurement import measure_chunk
from imgaudit.io.captions import CaptionSource
from imgaudit.io.portfolio import read_portfolio
from imgaudit.schema.protocol import ErrorConfig, GenerationConfig, InversionConfig, Protocol
from imgaudit.schema.records import ErrorMeasurement, Rung, RungMeasurement


def assert_measures(denoiser: Any, make_folder: Callable[..., Path]) -> None:
    """Invert, score and generate one image, and see that nothing was skipped."""
    folder = make_folder("targets", [1])
    [target] = read_portfolio(folder, CaptionSource(folder)).targets
    protocol = Protocol(
        inversion=InversionConfig(steps=2, draws=2),
        error=ErrorConfig(draws=4, after_steps=2),
        generation=GenerationConfig(seeds=2, num_inference_steps=2),
    )
    [measured] = measure_chunk(MeasurementContext(denoiser, protocol, 0, Executor(8)), [target.load()])
    assert isinstance(measured.measurement.error, ErrorMeasurement)
    assert isinstance(measured.measurement.rungs[Rung.EMBEDDING], RungMeasurement)

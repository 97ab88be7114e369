"""Models without a null branch are scored against the condition that inversions start from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import LCMScheduler

from imgaudit.diffusion.context import MeasurementContext
from imgaudit.diffusion.denoising_error import DrawSource, choose_baseline, measure_errors, measure_paired_errors
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.measurement import MeasuredImage, measure_chunk
from imgaudit.io.captions import CaptionSource
from imgaudit.io.portfolio import read_portfolio
from imgaudit.models.families.sdxl import SDXLDenoiser
from imgaudit.models.families.unet import UNetDenoiser
from imgaudit.schema.protocol import ErrorConfig, GenerationConfig, InversionConfig, LadderConfig, Protocol
from imgaudit.schema.records import ErrorMeasurement, Measurement
from tests.conftest import make_pipeline, tiny_recipe
from tests.support.distilled import make_distilled
from tests.support.tiny_sdxl import make_sdxl

PROTOCOL = Protocol(
    inversion=InversionConfig(steps=3, draws=2), error=ErrorConfig(draws=4, after_steps=2),
    generation=GenerationConfig(seeds=2, num_inference_steps=2), ladder=LadderConfig(rungs=("caption", "embedding")),
)  # fmt: skip


def few_step_model() -> UNetDenoiser:
    pipeline = make_pipeline(tiny_recipe())
    pipeline.scheduler = LCMScheduler.from_config(pipeline.scheduler.config)
    return UNetDenoiser(pipeline, "fingerprint")


def measure(denoiser: Any, folder: Path, context: dict[str, Any] | None = None) -> list[MeasuredImage]:
    loaded = [target.load() for target in read_portfolio(folder, CaptionSource(folder)).targets]
    return measure_chunk(MeasurementContext(denoiser, PROTOCOL, 0, Executor(16), **(context or {})), loaded)


@pytest.mark.parametrize(
    "make", [make_distilled, lambda: make_distilled("v_prediction"), lambda: make_distilled("sdxl"), few_step_model]
)
def test_a_model_without_a_null_branch_has_a_score_from_end_to_end(
    make: Callable[[], Any], make_folder: Callable[..., Path]
) -> None:
    denoiser = make()
    assert denoiser.no_null and choose_baseline(denoiser) == "start"
    for one in measure(denoiser, make_folder("targets", [1, 2])):
        record = one.measurement
        for error in (record.error, record.caption_error):
            assert isinstance(error, ErrorMeasurement) and error.baseline == "start"
        assert Measurement.model_validate_json(record.model_dump_json()) == record
        assert '"baseline":"start"' in record.model_dump_json()


def test_a_model_with_a_null_branch_keeps_it_and_its_records_read_as_before(make_folder: Callable[..., Path]) -> None:
    denoiser = UNetDenoiser(make_pipeline(tiny_recipe()), "fingerprint")
    [one] = measure(denoiser, make_folder("targets", [1]))
    assert isinstance(one.measurement.error, ErrorMeasurement) and one.measurement.error.baseline == "null"
    written = one.measurement.model_dump_json()
    assert "baseline" not in written and Measurement.model_validate_json(written) == one.measurement


def test_the_baseline_is_measured_under_its_condition_on_the_same_draws() -> None:
    denoiser = SDXLDenoiser(make_sdxl(), "fingerprint")
    latents = torch.randn(2, *denoiser.latent_shape, generator=torch.Generator().manual_seed(1))
    names, config, embeds = ["aa", "bb"], PROTOCOL.error, denoiser.condition(["a red fox", "one old clock"])
    found = {
        baseline: measure_paired_errors(
            denoiser, latents, names, embeds, config, run_seed=3, executor=Executor(8), baseline=baseline
        )
        for baseline in ("null", "start", None)
    }  # type: ignore[var-annotated]
    draws = DrawSource(3, names, "denoising error", denoiser.latent_shape).draw("stratified", config.draws, 1000)
    start = measure_errors(denoiser, latents, draws, denoiser.start_condition().repeat(2), Executor(8))
    assert torch.equal(found["start"].null, start) and found["start"].baseline == "start"
    # This model's null condition is zeros, which is not where its inversions start.
    assert not torch.allclose(found["null"].null, start)
    assert torch.equal(found[None].null, found["null"].null) and found[None].baseline == "null"
    assert torch.equal(found["null"].conditional, found["start"].conditional)

"""The search in the span of texts, on a tiny model of Stable Diffusion 3's family."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from imgaudit.diffusion.context import MeasurementContext
from imgaudit.diffusion.denoising_error import Draws, measure_row_errors
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.inversion import accumulate_gradients
from imgaudit.diffusion.measurement import measure_chunk
from imgaudit.diffusion.span_search import SpanSearch, draw_coordinates, search_span
from imgaudit.diffusion.text_span import TextSpan
from imgaudit.io.captions import CaptionSource
from imgaudit.io.portfolio import read_portfolio
from imgaudit.models.families.unet import UNetDenoiser
from imgaudit.runs.work import expected_work
from imgaudit.schema.protocol import (
    ErrorConfig,
    GenerationConfig,
    InversionConfig,
    LadderConfig,
    Protocol,
    SpanConfig,
)
from imgaudit.schema.records import ErrorMeasurement, Measurement
from tests.conftest import make_pipeline, tiny_recipe
from tests.support.tiny_transformers import adapt, make_qwen_image, make_sana

CONFIG = SpanConfig(texts=40, directions=12, steps=4, draws=2)
HASHES = ["a" * 64, "b" * 64]


@pytest.fixture(scope="module")
def latents(denoiser: Any) -> torch.Tensor:
    return torch.randn(2, *denoiser.latent_shape, generator=torch.Generator().manual_seed(0))


def search(
    denoiser: Any, span: TextSpan, latents: torch.Tensor, rows: slice = slice(None), *, batch: int = 64, seed: int = 0,
    config: SpanConfig = CONFIG,
) -> SpanSearch:  # fmt: skip
    return search_span(denoiser, latents[rows], HASHES[rows], span, config, run_seed=seed, executor=Executor(batch))


def assert_same(one: SpanSearch, other: SpanSearch, rows: slice) -> None:
    torch.testing.assert_close(one.losses, other.losses[rows], rtol=1e-4, atol=1e-5)
    for name, stream in one.prompt_embeds.streams.items():
        torch.testing.assert_close(stream, other.prompt_embeds.streams[name][rows], rtol=1e-3, atol=1e-3)


def test_images_do_not_influence_each_other(denoiser: Any, span: TextSpan, latents: torch.Tensor) -> None:
    together = search(denoiser, span, latents)
    assert together.losses.shape == (2, 4)
    for row in (slice(0, 1), slice(1, 2)):
        assert_same(search(denoiser, span, latents, row), together, row)


def test_slices_change_nothing(denoiser: Any, span: TextSpan, latents: torch.Tensor) -> None:
    assert_same(search(denoiser, span, latents, batch=1), search(denoiser, span, latents), slice(None))


def test_what_is_found_is_in_the_span_and_predicts_better(denoiser: Any, span: TextSpan, latents: torch.Tensor) -> None:
    found = search(denoiser, span, latents, config=CONFIG.model_copy(update={"steps": 60, "draws": 4}))
    assert found.losses[:, -20:].mean() < found.losses[:, :20].mean()
    moved = torch.cat([(found.prompt_embeds.streams[n] - span.mean.streams[n]).flatten(1) for n in span.directions], 1)
    basis = torch.cat([rows.flatten(1) for rows in span.directions.values()], 1)
    residual = moved - moved @ torch.linalg.pinv(basis) @ basis
    assert float(residual.norm()) < 1e-2 * float(moved.norm())


def test_the_start_depends_on_image_and_seed_and_not_on_signs(denoiser: Any, span: TextSpan) -> None:
    first, second = draw_coordinates(HASHES, span, 0.5, 0)
    assert not torch.equal(first, second)
    assert not torch.equal(draw_coordinates(HASHES, span, 0.5, 1)[0], first)
    signs = torch.ones(len(span))
    signs[::2] = -1
    turned = replace(
        span, directions={name: rows * signs[:, None, None] for name, rows in span.directions.items()},
        shares=span.shares * signs,
    )  # fmt: skip
    here = span.condition(draw_coordinates(HASHES, span, 0.5, 0)).streams
    there = turned.condition(draw_coordinates(HASHES, turned, 0.5, 0)).streams
    for name, stream in here.items():
        torch.testing.assert_close(there[name], stream, rtol=1e-4, atol=1e-4)


def test_gradients_are_those_of_central_differences(denoiser: Any, span: TextSpan, latents: torch.Tensor) -> None:
    generator = torch.Generator().manual_seed(1)
    draws = Draws(torch.tensor([[700, 900]]), torch.randn(1, 2, *denoiser.latent_shape, generator=generator))
    coordinates = torch.randn(1, len(span), generator=generator) * 0.5

    def loss(at: torch.Tensor) -> float:
        with torch.no_grad():
            errors, _ = measure_row_errors(
                denoiser, latents[:1], draws, span.condition(at), torch.zeros(2, dtype=torch.long), slice(None)
            )
        return float(errors.double().mean())

    condition = span.condition(coordinates)
    streams = {name: stream.requires_grad_(True) for name, stream in condition.streams.items()}
    accumulate_gradients(
        denoiser, latents[:1], draws, condition.with_streams(streams), list(streams), executor=Executor(8)
    )
    gradients = {name: stream.grad for name, stream in streams.items() if stream.grad is not None}
    projected = span.project(gradients)[0]
    for direction in (0, 3, 7):
        step = torch.zeros(1, len(span))
        step[0, direction] = 0.02
        difference = (loss(coordinates + step) - loss(coordinates - step)) / 0.04
        assert difference == pytest.approx(float(projected[direction]), rel=0.05, abs=2e-4)


PROTOCOL = Protocol(
    inversion=InversionConfig(steps=3, draws=2), error=ErrorConfig(draws=4, after_steps=2), span=CONFIG,
    generation=GenerationConfig(seeds=2, num_inference_steps=2), ladder=LadderConfig(rungs=("embedding",)),
)  # fmt: skip


def measure(denoiser: Any, protocol: Protocol, folder: Path) -> Measurement:
    loaded = [target.load() for target in read_portfolio(folder, CaptionSource(folder)).targets]
    [one] = measure_chunk(MeasurementContext(denoiser, protocol, 0, Executor(16)), loaded)
    return one.measurement


@pytest.mark.parametrize("searches", [True, False])
def test_a_flow_model_is_scored_after_the_search_for_what_the_plan_says(
    denoiser: Any, make_folder: Callable[..., Path], searches: bool
) -> None:
    protocol = PROTOCOL if searches else PROTOCOL.model_copy(update={"span": None})
    before = denoiser.network_evaluations
    measured = measure(denoiser, protocol, make_folder("targets", [1]))
    assert isinstance(measured.error, ErrorMeasurement)
    expected = expected_work(protocol, 1, prediction_type="flow").evaluations
    assert denoiser.network_evaluations - before == measured.network_evaluations == expected
    plain = expected_work(protocol.model_copy(update={"span": None}), 1, prediction_type="flow").evaluations
    assert expected - plain == (2 * 4 * 2 if searches else 0)


def test_the_images_of_a_flow_model_do_not_depend_on_the_search(
    denoiser: Any, make_folder: Callable[..., Path]
) -> None:
    folder = make_folder("targets", [1])
    searched = measure(denoiser, PROTOCOL, folder)
    inverted = measure(denoiser, PROTOCOL.model_copy(update={"span": None}), folder)
    assert searched.rungs == inverted.rungs and searched.loss_curve == inverted.loss_curve
    assert searched.error != inverted.error


def test_a_model_that_predicts_noise_is_measured_as_it_was(make_folder: Callable[..., Path]) -> None:
    folder, denoiser = make_folder("targets", [1]), UNetDenoiser(make_pipeline(tiny_recipe()), "fingerprint")
    searched, before = (
        measure(denoiser, protocol, folder) for protocol in (PROTOCOL, PROTOCOL.model_copy(update={"span": None}))
    )
    assert searched.model_copy(update={"seconds": before.seconds}) == before
    assert searched.network_evaluations == expected_work(PROTOCOL, 1, prediction_type="epsilon").evaluations


@pytest.mark.parametrize("make", [make_sana, make_qwen_image])
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
def test_models_without_words_or_with_masks_are_measured_too(
    make: Callable[[], Any], make_folder: Callable[..., Path]
) -> None:
    denoiser = adapt(make())
    assert not any(len(word) > 2 and word.isalpha() for word in denoiser.vocabulary)
    measured = measure(denoiser, PROTOCOL, make_folder("targets", [1]))
    assert isinstance(measured.error, ErrorMeasurement)
    assert measured.network_evaluations == expected_work(PROTOCOL, 1, prediction_type="flow").evaluations

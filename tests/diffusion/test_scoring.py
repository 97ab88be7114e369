"""Images with an ordinary score are scored only; what the others give does not depend on them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from imgaudit.diffusion.context import MeasurementContext
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.measurement import MeasuredImage, measure_chunk
from imgaudit.io.captions import CaptionSource
from imgaudit.io.portfolio import LoadedTarget, read_portfolio
from imgaudit.models.families.unet import UNetDenoiser
from imgaudit.runs.work import added_look_work, look_work, score_work
from imgaudit.schema.funnel import FirstLookConfig
from imgaudit.schema.protocol import (
    ErrorConfig,
    GenerationConfig,
    InversionConfig,
    LadderConfig,
    Protocol,
    SpanConfig,
)
from imgaudit.schema.records import ErrorMeasurement, NotAsked, Rung, RungMeasurement, Skipped
from tests.conftest import make_pipeline, tiny_recipe

PROTOCOL = Protocol(
    inversion=InversionConfig(steps=4, draws=2), error=ErrorConfig(draws=4, after_steps=2),
    generation=GenerationConfig(seeds=2, num_inference_steps=2), ladder=LadderConfig(rungs=("caption", "embedding")),
)  # fmt: skip

LOOK = FirstLookConfig(search=0.5, draws=2)


def load(folder: Path) -> list[LoadedTarget]:
    return [target.load() for target in read_portfolio(folder, CaptionSource(folder)).targets]


def measure(
    denoiser: Any,
    loaded: list[LoadedTarget],
    protocol: Protocol = PROTOCOL,
    asked: Callable[[float], bool] | None = None,
    looked: Callable[[float], bool] | None = None,
) -> list[MeasuredImage]:
    options: dict[str, Any] = {}
    if looked is not None:
        options["first_look"] = LOOK
        options["find_reason_not_to_ask"] = lambda scores: (
            "" if scores.log_ratio is not None or looked(scores.first_look.log_ratio) else "its first look is low"
        )
    if asked is not None:
        options["find_reason_not_to_ask"] = lambda scores: "" if asked(scores.log_ratio) else "its score is low"
    return measure_chunk(MeasurementContext(denoiser, protocol, 0, Executor(16), **options), loaded)


def middle(measured: list[MeasuredImage]) -> float:
    ratios = sorted(
        one.measurement.error.log_ratio for one in measured if isinstance(one.measurement.error, ErrorMeasurement)
    )
    return (ratios[1] + ratios[2]) / 2


def test_images_that_pass_are_measured_as_if_all_were_asked(make_folder: Callable[..., Path]) -> None:
    denoiser = UNetDenoiser(make_pipeline(tiny_recipe()), "fingerprint")
    loaded = load(make_folder("targets", [1, 2, 3, 4]))
    before = denoiser.network_evaluations
    everything = measure(denoiser, loaded)
    full = (denoiser.network_evaluations - before) / 4
    bound, before = middle(everything), denoiser.network_evaluations
    some = measure(denoiser, loaded, asked=lambda log_ratio: log_ratio > bound)
    spent, scored = denoiser.network_evaluations - before, score_work(PROTOCOL, captioned=True).evaluations
    assert spent == 2 * full + 2 * scored
    for whole, one in zip(everything, some, strict=True):
        first, second = whole.measurement, one.measurement
        assert isinstance(first.error, ErrorMeasurement) and isinstance(second.error, ErrorMeasurement)
        assert first.error == second.error and first.caption_error == second.caption_error
        if first.error.log_ratio > bound:
            assert second.not_asked == "" and second.network_evaluations == full
            for name, stream in whole.prompt_embeds.items():
                torch.testing.assert_close(one.prompt_embeds[name], stream, atol=1e-4, rtol=1e-3)
            assert second.loss_curve == pytest.approx(first.loss_curve, rel=1e-3)
            replicas = [[replica.seed for replica in asked.replicas] for asked in _asked(first)]
            assert replicas == [[replica.seed for replica in asked.replicas] for asked in _asked(second)]
        else:
            assert second.network_evaluations == scored and second.not_asked == "its score is low"
            assert len(second.loss_curve) == PROTOCOL.error.after_steps and not one.images
            assert second.loss_curve == pytest.approx(first.loss_curve[:2], rel=1e-3)
            texts = {
                rung: list(target.texts[rung]) for rung in (Rung.CAPTION,) for target in [_target(loaded, second.id)]
            }
            assert second.rungs[Rung.CAPTION] == NotAsked(skipped="its score is low", texts=texts[Rung.CAPTION])
            assert second.rungs[Rung.EMBEDDING] == NotAsked(skipped="its score is low", texts=[])
            assert second.rungs[Rung.PROMPT] == Skipped(skipped="the protocol has no prompt rung")


def _asked(measurement: Any) -> list[RungMeasurement]:
    return [one for one in measurement.rungs.values() if isinstance(one, RungMeasurement)]


def _target(loaded: list[LoadedTarget], image_id: str) -> Any:
    return next(one.target for one in loaded if one.target.image.id == image_id)


def test_an_image_without_a_caption_is_not_left_out_of_what_it_never_had(make_folder: Callable[..., Path]) -> None:
    denoiser = UNetDenoiser(make_pipeline(tiny_recipe()), "fingerprint")
    loaded = load(make_folder("targets", [1], captions=False))
    [one] = measure(denoiser, loaded, asked=lambda log_ratio: False)
    assert one.measurement.rungs[Rung.CAPTION] == Skipped(skipped="no caption was given")
    assert one.measurement.network_evaluations == score_work(PROTOCOL).evaluations


def test_a_flow_model_is_scored_without_an_inversion(denoiser: Any, make_folder: Callable[..., Path]) -> None:
    protocol = PROTOCOL.model_copy(update={"span": SpanConfig(texts=40, directions=12, steps=3, draws=1)})
    loaded = load(make_folder("targets", [1, 2, 3, 4]))
    everything = measure(denoiser, loaded, protocol)
    bound, before = middle(everything), denoiser.network_evaluations
    some = measure(denoiser, loaded, protocol, asked=lambda log_ratio: log_ratio > bound)
    left = [one for one in some if one.measurement.not_asked]
    assert len(left) == 2 and all(one.measurement.loss_curve == [] and one.prompt_embeds for one in left)
    scored = score_work(protocol, "flow", captioned=True).evaluations
    assert [one.measurement.network_evaluations for one in left] == [scored, scored]
    spent = sum(one.measurement.network_evaluations for one in some)
    assert spent == denoiser.network_evaluations - before
    for whole, one in zip(everything, some, strict=True):
        if not one.measurement.not_asked:
            for name, stream in whole.prompt_embeds.items():
                torch.testing.assert_close(one.prompt_embeds[name], stream, atol=1e-4, rtol=1e-3)


def look_at(measured: MeasuredImage) -> float:
    assert measured.measurement.first_look is not None
    return measured.measurement.first_look.log_ratio


@pytest.mark.parametrize("span", [None, SpanConfig(texts=40, directions=12, steps=4, draws=1)])
def test_images_that_pass_their_first_look_are_measured_as_if_none_was_taken(
    span: SpanConfig | None, denoiser: Any, make_folder: Callable[..., Path]
) -> None:
    protocol, kind = PROTOCOL.model_copy(update={"span": span}), "flow" if span else "epsilon"
    if span is None:
        denoiser = UNetDenoiser(make_pipeline(tiny_recipe()), "fingerprint")
    loaded = load(make_folder("targets", [1, 2, 3, 4]))
    plain = measure(denoiser, loaded, protocol)
    everything = measure(denoiser, loaded, protocol, looked=lambda look: True)
    looks = sorted(map(look_at, everything))
    bound, before = (looks[1] + looks[2]) / 2, denoiser.network_evaluations
    some = measure(denoiser, loaded, protocol, looked=lambda look: look > bound)
    spent = denoiser.network_evaluations - before
    assert spent == sum(one.measurement.network_evaluations for one in some)
    stopped = look_work(protocol, LOOK, kind, captioned=True).evaluations
    added = added_look_work(protocol, LOOK).evaluations
    for whole, every, one in zip(plain, everything, some, strict=True):
        first, second = whole.measurement, one.measurement
        assert look_at(one) == pytest.approx(look_at(every), rel=1e-4)
        # A first look changes nothing but what is spent.
        assert every.measurement.network_evaluations == first.network_evaluations + added
        assert every.measurement.error.log_ratio == pytest.approx(first.error.log_ratio, abs=1e-5)
        if look_at(every) > bound:
            assert second.network_evaluations == first.network_evaluations + added and not second.not_asked
            assert isinstance(first.error, ErrorMeasurement) and isinstance(second.error, ErrorMeasurement)
            assert second.error.log_ratio == pytest.approx(first.error.log_ratio, abs=1e-5)
            assert isinstance(first.caption_error, ErrorMeasurement) and isinstance(
                second.caption_error, ErrorMeasurement
            )
            assert second.caption_error.log_ratio == pytest.approx(first.caption_error.log_ratio, abs=1e-5)
            for name, stream in whole.prompt_embeds.items():
                torch.testing.assert_close(one.prompt_embeds[name], stream, atol=1e-4, rtol=1e-3)
            continue
        assert second.network_evaluations == stopped and second.not_asked == "its first look is low"
        assert second.error == second.caption_error == Skipped(skipped="its first look is low")
        assert second.first_look is not None and second.first_look.draws == 2
        assert second.first_look.caption_log_ratio is not None and not one.images
        assert len(second.loss_curve) == (0 if span else 1)


def test_a_first_look_is_the_score_of_some_draws(make_folder: Callable[..., Path]) -> None:
    """After the whole search and on all draws, a first look is the score, and adds no evaluations to its draws."""
    denoiser = UNetDenoiser(make_pipeline(tiny_recipe()), "fingerprint")
    loaded = load(make_folder("targets", [1, 2, 3, 4]))
    context = MeasurementContext(denoiser, PROTOCOL, 0, Executor(16), first_look=FirstLookConfig(search=1, draws=64))
    for one in measure_chunk(context, loaded):
        error, caption, look = one.measurement.error, one.measurement.caption_error, one.measurement.first_look
        assert isinstance(error, ErrorMeasurement) and isinstance(caption, ErrorMeasurement) and look is not None
        assert (look.steps, look.draws) == (2, 4)
        assert look.log_ratio == error.log_ratio and look.caption_log_ratio == caption.log_ratio

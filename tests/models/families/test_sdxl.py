"""The adapter of Stable Diffusion XL against its own pipeline."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    TCDScheduler,
)

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.seeds import draw_noise
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.families.sdxl import SDXLDenoiser
from imgaudit.models.loading import load_model
from tests.support.tiny_sdxl import POSITIONS, PROMPTS, latents_for, make_sdxl

# Raised inside diffusers' Euler schedulers; nothing of ours can avoid it.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")


@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
@pytest.mark.parametrize("scheduler", [DDIMScheduler, EulerDiscreteScheduler])
def test_samples_are_the_pipelines_own_images(
    denoiser: SDXLDenoiser, scheduler: Any, guidance_scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = denoiser.pipeline.scheduler
    monkeypatch.setattr(denoiser.pipeline, "scheduler", scheduler.from_config(own.config))
    seeds = [3, 11]
    ours = denoiser.sample(
        denoiser.condition(PROMPTS), seeds, guidance_scale=guidance_scale, num_inference_steps=4
    )  # fmt: skip
    theirs = denoiser.pipeline(
        PROMPTS, guidance_scale=guidance_scale, num_inference_steps=4, output_type="pt",
        latents=draw_noise(seeds, denoiser.latent_shape),
    ).images  # fmt: skip
    torch.testing.assert_close(ours, theirs * 2 - 1, atol=1e-4, rtol=0)
    assert float(ours.std()) > 0.05


def test_prompts_guidance_and_every_stream_change_the_image(denoiser: SDXLDenoiser) -> None:
    condition, null = denoiser.condition(PROMPTS[:1]), denoiser.null_condition()

    def image(condition: PromptEmbeds, guidance_scale: float = 1.0) -> torch.Tensor:
        return denoiser.sample(condition, [3], guidance_scale=guidance_scale, num_inference_steps=4)

    whole = image(condition)
    assert not torch.allclose(whole, image(condition, 5.0), atol=1e-4)
    for name, stream in null.streams.items():
        assert not torch.allclose(whole, image(condition.with_streams(condition.streams | {name: stream})), atol=1e-5)


@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
@pytest.mark.parametrize("scheduler", [DDIMScheduler, EulerDiscreteScheduler])
def test_a_step_from_what_is_predicted_is_the_pipelines_own_step(
    denoiser: SDXLDenoiser, scheduler: Any, guidance_scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = scheduler.from_config(denoiser.pipeline.scheduler.config)
    monkeypatch.setattr(denoiser.pipeline, "scheduler", own)
    start, seen = latents_for(denoiser, 2), []
    denoiser.pipeline(
        PROMPTS, guidance_scale=guidance_scale, num_inference_steps=3, output_type="latent", latents=start,
        callback_on_step_end=lambda pipeline, step, time, given: seen.append(given["latents"].clone()) or given,
    )  # fmt: skip
    own.set_timesteps(3)
    time, latents = own.timesteps[0], start * own.init_noise_sigma
    scaled, timesteps = own.scale_model_input(latents, time), time.repeat(2).long()
    with torch.no_grad():
        output = denoiser.predict(scaled, timesteps, denoiser.condition(PROMPTS)).output
        if guidance_scale > 1:
            null = denoiser.predict(scaled, timesteps, denoiser.null_condition().repeat(2)).output
            output = null + guidance_scale * (output - null)
    torch.testing.assert_close(own.step(output, time, latents).prev_sample, seen[0], atol=1e-4, rtol=1e-4)


def test_a_ddim_step_without_the_scheduler_is_the_pipelines_own_step(denoiser: SDXLDenoiser) -> None:
    start, seen = latents_for(denoiser, 2), []
    denoiser.pipeline(
        PROMPTS, guidance_scale=1.0, num_inference_steps=3, output_type="latent", latents=start,
        callback_on_step_end=lambda pipeline, step, time, given: seen.append((time, given["latents"].clone())) or given,
    )  # fmt: skip
    (time, after), (following, _) = seen[:2]
    with torch.no_grad():
        predicted = denoiser.predict(start, time.repeat(2), denoiser.condition(PROMPTS))
    ours = denoiser.schedule.add_noise(predicted.x0(), predicted.noise(), following.repeat(2))
    torch.testing.assert_close(ours, after, atol=1e-4, rtol=1e-4)


def test_the_null_condition_is_what_the_pipeline_guides_away_from(denoiser: SDXLDenoiser) -> None:
    seen: list[dict[str, torch.Tensor]] = []

    def keep(module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        seen.append({"text": keywords["encoder_hidden_states"], **keywords["added_cond_kwargs"]})

    handle = denoiser.pipeline.unet.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        denoiser.pipeline(PROMPTS[:1], guidance_scale=5.0, num_inference_steps=1, output_type="latent")
    finally:
        handle.remove()
    null, prompt = denoiser.null_condition(), denoiser.condition(PROMPTS[:1])
    for row, condition in enumerate((null, prompt)):
        torch.testing.assert_close(seen[0]["text"][row], condition.streams["text"][0])
        torch.testing.assert_close(seen[0]["text_embeds"][row], condition.streams["pooled"][0, 0])
        torch.testing.assert_close(seen[0]["time_ids"][row], condition.extras["time_ids"][0])
    zeros = denoiser.pipeline.config.force_zeros_for_empty_prompt
    assert all(bool((stream == 0).all()) == zeros for stream in null.streams.values())
    assert null.extras["time_ids"].tolist() == [[16, 16, 0, 0, 16, 16]]


def test_inversions_start_from_the_empty_prompt_whatever_the_null_is(denoiser: SDXLDenoiser) -> None:
    start, empty = denoiser.start_condition(), denoiser.condition([""])
    torch.testing.assert_close(dict(start.streams), dict(empty.streams))
    assert all(scale > 0.01 for scale in start.root_mean_square().values())
    assert not bool(start.free["text"][0]) and bool(start.free["text"][1:].all()) and bool(start.free["pooled"].all())
    assert start.streams["text"].shape == (1, POSITIONS, 56) and start.streams["pooled"].shape == (1, 1, 20)


@pytest.mark.parametrize("name", ["text", "pooled"])
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_gradients_in_every_stream_match_finite_differences(name: str, kind: str) -> None:
    denoiser = SDXLDenoiser(make_sdxl(kind), "fingerprint")
    denoiser.pipeline.unet.double()
    generator = torch.Generator().manual_seed(0)
    condition = denoiser.condition(PROMPTS[:1])
    noisy = torch.randn((1, *denoiser.latent_shape), generator=generator, dtype=torch.float64)
    stream = condition.streams[name].double()
    direction = torch.randn(stream.shape, generator=generator, dtype=torch.float64)

    def loss(stream: torch.Tensor) -> torch.Tensor:
        changed = condition.with_streams(condition.streams | {name: stream})
        return denoiser.predict(noisy, torch.tensor([400]), changed).x0().square().sum()

    leaf = stream.clone().requires_grad_(True)
    loss(leaf).backward()  # type: ignore[no-untyped-call]
    assert leaf.grad is not None and bool((leaf.grad != 0).any(dim=2).all())
    with torch.no_grad():
        numeric = float(loss(stream + 1e-5 * direction) - loss(stream - 1e-5 * direction)) / 2e-5
    assert numeric != 0 and float((leaf.grad * direction).sum()) == pytest.approx(numeric, rel=1e-5)


def test_weights_are_frozen_and_evaluations_counted() -> None:
    denoiser = SDXLDenoiser(make_sdxl(), "fingerprint")
    for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
        assert not any(weight.requires_grad for weight in getattr(denoiser.pipeline, name).parameters())
        assert not getattr(denoiser.pipeline, name).training
    null, noisy, timesteps = denoiser.null_condition(), latents_for(denoiser), torch.tensor([1, 2, 3])
    denoiser.predict(noisy, timesteps, null.repeat(3))
    assert denoiser.network_evaluations == 3
    for count, name in enumerate(("text", "pooled"), start=1):
        streams = dict(null.repeat(3).streams)
        streams[name] = streams[name].clone().requires_grad_(True)
        denoiser.predict(noisy, timesteps, null.repeat(3).with_streams(streams))
        assert denoiser.network_evaluations == 3 + 6 * count
    denoiser.sample(null, [1], guidance_scale=2.0, num_inference_steps=5)
    assert denoiser.network_evaluations == 15 + 10
    denoiser.sample(null, [1], guidance_scale=1.0, num_inference_steps=5)
    assert denoiser.network_evaluations == 15 + 10 + 5


MEANS = {"latents_mean": [0.4, -0.2, 0.1, 0.0], "latents_std": [2.0, 1.5, 0.5, 1.0]}


@pytest.mark.parametrize("options", [{}, MEANS], ids=["a factor", "means and deviations"])
def test_latents_are_scaled_as_the_pipeline_scales_them(options: dict[str, Any]) -> None:
    denoiser = SDXLDenoiser(make_sdxl(**options), "fingerprint")
    vae, images = denoiser.pipeline.vae, torch.rand(2, 3, 16, 16) * 2 - 1
    latents = denoiser.encode(images)
    mode = vae.encode(images).latent_dist.mode()
    torch.testing.assert_close(denoiser.decode(latents), vae.decode(mode).sample.clamp(-1, 1), atol=1e-5, rtol=1e-5)
    mean, deviation = (torch.tensor(options.get(key, [value] * 4)).reshape(1, 4, 1, 1) for key, value in
                       (("latents_mean", 0.0), ("latents_std", 1.0)))  # fmt: skip
    torch.testing.assert_close(latents, (mode - mean) / deviation * 0.13025, atol=1e-5, rtol=1e-5)
    # The pipeline's own undoing of it, on latents that it has just sampled.
    sampled = denoiser.pipeline(
        PROMPTS, num_inference_steps=2, latents=latents_for(denoiser, 2), output_type="latent"
    ).images  # fmt: skip
    theirs = denoiser.pipeline(
        PROMPTS, num_inference_steps=2, latents=latents_for(denoiser, 2), output_type="pt"
    ).images
    torch.testing.assert_close(denoiser.decode(sampled), theirs * 2 - 1, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("force_upcast", [True, False])
def test_an_autoencoder_that_overflows_in_half_precision_works_in_float32(force_upcast: bool) -> None:
    denoiser = SDXLDenoiser(make_sdxl(force_upcast=force_upcast), "fingerprint")
    vae, images = denoiser.pipeline.vae, torch.rand(1, 3, 16, 16) * 2 - 1
    vae.half()
    with torch.no_grad():
        # Finite in half precision, and far outside of it after the first convolution.
        vae.encoder.conv_in.weight.mul_(3e3)
        vae.encoder.conv_in.bias.fill_(6e4)
    latents = denoiser.encode(images)
    assert bool(torch.isfinite(latents).all()) == force_upcast
    assert vae.dtype == torch.float16 and latents.dtype == torch.float32
    assert denoiser.decode(latents_for(denoiser, 1)).dtype == torch.float32 and vae.dtype == torch.float16


def test_a_model_in_half_precision_samples_without_a_warning() -> None:
    denoiser = SDXLDenoiser(make_sdxl().to(torch.float16), "fingerprint")
    images = denoiser.sample(denoiser.condition(PROMPTS), [1, 2], guidance_scale=5.0, num_inference_steps=2)
    assert images.dtype == torch.float32 and bool(torch.isfinite(images).all())
    assert denoiser.pipeline.vae.dtype == torch.float16


def test_cut_tokens_are_counted_per_text_encoder(tiny: SDXLDenoiser) -> None:
    assert tiny.cut_tokens("a red fox") == {}
    cut = tiny.cut_tokens("fox " * (POSITIONS + 3))
    # The second vocabulary has not seen the fox, and spells it.
    assert cut["text_encoder"] == 5 and cut["text_encoder_2"] > 5


def test_weights_that_are_not_finite_are_refused_wherever_they_are() -> None:
    for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
        pipeline = make_sdxl()
        with torch.no_grad():
            next(getattr(pipeline, name).parameters()).fill_(float("nan"))
        with pytest.raises(ModelRefusedError, match=f"'{name}' has weights that are not finite"):
            SDXLDenoiser(pipeline, "fingerprint")


def test_a_unet_without_sizes_and_an_unknown_prediction_are_refused() -> None:
    pipeline = make_sdxl()
    pipeline.unet.register_to_config(addition_embed_type="text")
    with pytest.raises(ModelRefusedError, match="addition_embed_type is 'text'"):
        SDXLDenoiser(pipeline, "fingerprint")
    with pytest.raises(ModelRefusedError, match="prediction_type must be one of"):
        SDXLDenoiser(make_sdxl("flow_prediction"), "fingerprint")
    with pytest.raises(ModelRefusedError, match="scaling_factor is 0"):
        SDXLDenoiser(make_sdxl(scaling_factor=0), "fingerprint")


def test_a_watermark_is_taken_off() -> None:
    pipeline = make_sdxl()
    pipeline.watermark = object()
    denoiser = SDXLDenoiser(pipeline, "fingerprint")
    assert pipeline.watermark is None
    denoiser.sample(denoiser.null_condition(), [1], guidance_scale=1.0, num_inference_steps=1)


def test_distilled_models_say_that_they_have_no_null_branch(
    tiny: SDXLDenoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tiny.no_null == ""
    monkeypatch.setattr(tiny.pipeline, "scheduler", EulerAncestralDiscreteScheduler(timestep_spacing="trailing"))
    assert tiny.no_null == ""
    for scheduler in (LCMScheduler(), TCDScheduler()):
        monkeypatch.setattr(tiny.pipeline, "scheduler", scheduler)
        assert type(scheduler).__name__ in tiny.no_null


def test_a_saved_folder_is_loaded_with_its_null(tmp_path: Path) -> None:
    for force_zeros in (True, False):
        folder = tmp_path / f"zeros-{force_zeros}"
        make_sdxl(force_zeros=force_zeros).save_pretrained(folder, safe_serialization=True)
        denoiser = load_model(str(folder), "cpu").denoiser
        assert isinstance(denoiser, SDXLDenoiser) and denoiser.network_evaluations == 0
        assert (denoiser.null_condition().root_mean_square()["text"] == 0) == force_zeros

"""What one family of diffusion transformers has and the others have not, what is refused, and what diffusers has."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchHeunDiscreteScheduler,
)

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.generation import require_steps
from imgaudit.diffusion.schedules import FlowSchedule, NoiseSchedule
from imgaudit.diffusion.seeds import draw_noise
from imgaudit.exceptions import ConfigError, ModelRefusedError
from imgaudit.models import load_model
from imgaudit.models.families.flux import FluxDenoiser
from imgaudit.models.families.qwen_image import QwenImageDenoiser
from imgaudit.models.families.sana import SanaDenoiser
from imgaudit.models.families.sd3 import SD3Denoiser
from imgaudit.models.families.transformer import spread_rows
from tests.support.measured import assert_measures
from tests.support.tiny_families import SIDE, make_qwen_image, make_sana
from tests.support.tiny_transformers import adapt, make_flux, make_pixart, make_sd3

# Raised inside diffusers' DPM-Solver; nothing of ours can avoid it.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

PROMPTS = ["a red fox", "one old clock"]


def test_guidance_is_embedded_by_dev_and_ignored_by_schnell() -> None:
    for guidance_embeds in (True, False):
        denoiser = adapt(make_flux(guidance_embeds))
        condition = denoiser.condition(PROMPTS[:1])
        one, five = (denoiser.sample(condition, [1], guidance_scale=scale, num_inference_steps=2) for scale in (1, 5))
        assert torch.equal(one, five) == (not guidance_embeds)
        assert denoiser.network_evaluations == 4


def test_a_prediction_of_noise_is_what_the_pipeline_guides_without_guidance() -> None:
    denoiser = adapt(make_pixart())
    denoiser.pipeline.scheduler = DDIMScheduler.from_config(
        denoiser.pipeline.scheduler.config, clip_sample=False, set_alpha_to_one=True
    )
    latents = draw_noise([5], denoiser.latent_shape)
    after = denoiser.pipeline(
        PROMPTS[0], guidance_scale=1.0, num_inference_steps=1, output_type="latent", latents=latents,
        height=denoiser.resolution, width=denoiser.resolution, use_resolution_binning=False, clean_caption=False,
    ).images  # fmt: skip
    timesteps = denoiser.pipeline.scheduler.timesteps
    with torch.no_grad():
        prediction = denoiser.predict(latents, timesteps, denoiser.condition(PROMPTS[:1]))
    torch.testing.assert_close(prediction.x0(), after, atol=1e-4, rtol=1e-4)


def test_unpacking_undoes_packing() -> None:
    denoiser = FluxDenoiser(make_flux(), "fingerprint")
    latents = torch.randn(2, 4, 6, 10)
    packed = denoiser._packed(latents)
    assert packed.shape == (2, 15, 16)
    assert torch.equal(packed[0, 0], latents[0, :, :2, :2].flatten())
    assert torch.equal(denoiser._unpacked(packed, 6, 10), latents)


def test_schedules_are_those_of_training() -> None:
    shifted = adapt(make_sd3(num_train_timesteps=500, shift=3.0))
    assert shifted.schedule == FlowSchedule(500) and shifted.prediction_type == "flow"
    assert adapt(make_flux()).schedule == FlowSchedule(1000)
    assert all(adapt(make_sana(solver)).schedule == FlowSchedule(1000) for solver in (True, False))
    pixart = adapt(make_pixart())
    assert isinstance(pixart.schedule, NoiseSchedule) and pixart.prediction_type == "epsilon"


def test_streams_of_sd3_are_clip_and_t5_and_the_pooled_vector() -> None:
    pipeline = make_sd3()
    denoiser = SD3Denoiser(pipeline, "fingerprint")
    condition = denoiser.condition(PROMPTS)
    text, _, pooled, _ = pipeline.encode_prompt(PROMPTS, None, None, do_classifier_free_guidance=False)
    assert {name: stream.shape[1:] for name, stream in condition.streams.items()} == {
        "clip": (16, 64), "t5": (256, 80), "pooled": (1, 64),
    }  # fmt: skip
    torch.testing.assert_close(denoiser._text(condition), text)
    torch.testing.assert_close(condition.streams["pooled"], pooled[:, None])
    assert condition.free["clip"].tolist() == [False] + [True] * 15
    assert condition.free["t5"].tolist() == [True] * 256 and condition.free["pooled"].tolist() == [True]


def test_a_t5_of_sd3_that_reads_less_is_given_less() -> None:
    pipeline = make_sd3()
    pipeline.tokenizer_3.model_max_length = 16
    denoiser = SD3Denoiser(pipeline, "fingerprint")
    condition = denoiser.condition(PROMPTS)
    assert condition.streams["t5"].shape == (2, 16, 80) and denoiser.cut_tokens("fox " * 20)["text_encoder_3"] == 5
    options = {"guidance_scale": 5.0, "num_inference_steps": 3}
    latents = draw_noise([3, 11], denoiser.latent_shape)
    theirs = pipeline(PROMPTS, latents=latents, max_sequence_length=16, output_type="pt", **options).images
    torch.testing.assert_close(denoiser.sample(condition, [3, 11], **options), theirs * 2 - 1, atol=1e-4, rtol=0)


def test_without_t5_its_rows_are_zeros_and_no_stream() -> None:
    denoiser = SD3Denoiser(make_sd3(with_t5=False), "fingerprint")
    condition = denoiser.condition(PROMPTS)
    assert list(condition.streams) == list(condition.free) == ["clip", "pooled"]
    text = denoiser._text(condition)
    assert text.shape == (2, 16 + 256, 80) and not bool(text[:, 16:].any())


@pytest.mark.parametrize("make", [make_pixart, make_sana])
def test_the_start_of_masked_text_shows_every_row_and_says_nearly_nothing(make: Callable[[], Any]) -> None:
    denoiser = adapt(make())
    null, start = denoiser.null_condition(), denoiser.start_condition()
    assert int(null.extras["mask"].sum()) == 1 and bool(start.extras["mask"].all())
    assert torch.equal(start.streams["text"][:, 0], null.streams["text"][:, 0])
    noisy, timesteps = draw_noise([2], denoiser.latent_shape), torch.tensor([300])

    def answer(condition: PromptEmbeds) -> torch.Tensor:
        with torch.no_grad():
            return denoiser.predict(noisy, timesteps, condition).output

    difference = float((answer(start) - answer(null)).abs().max())
    assert difference < 0.25 * float((answer(denoiser.condition(PROMPTS[:1])) - answer(null)).abs().max())
    copies = null.streams["text"][:, :1].expand_as(start.streams["text"])
    torch.testing.assert_close(
        answer(PromptEmbeds({"text": copies}, start.free, start.extras)), answer(null), atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("make", [make_sd3, make_flux, make_pixart, make_sana])
def test_rows_of_padding_are_inverted_apart(make: Callable[[], Any]) -> None:
    denoiser = adapt(make())
    start = denoiser.start_condition()
    name = "t5" if make is make_sd3 else "text"
    text = start.streams[name].clone().requires_grad_(True)
    prediction = denoiser.predict(
        draw_noise([2], denoiser.latent_shape),
        torch.tensor([300]),
        start.with_streams({**start.streams, name: text}),
    )
    [gradient] = torch.autograd.grad(prediction.output.square().sum(), text)
    padding = text.detach()[0, -250:]
    assert float(padding.std(dim=0).mean()) > 0.2 * float(padding.square().mean().sqrt())
    assert len({tuple(row.tolist()) for row in gradient[0, -250:]}) >= 249
    assert torch.equal(denoiser.start_condition().streams[name], start.streams[name])


def test_setting_apart_keeps_the_first_row_and_the_mean() -> None:
    rows = torch.ones(1, 8, 3)
    apart = spread_rows(rows)
    assert torch.equal(apart[0, [0, 7]], rows[0, [0, 7]]) and len({tuple(row) for row in apart[0].tolist()}) == 7
    torch.testing.assert_close(apart.mean(dim=1), rows.mean(dim=1))


def test_sana_reads_prompts_after_its_instruction_and_the_empty_one_without() -> None:
    pipeline = make_sana()
    denoiser = adapt(pipeline)
    assert isinstance(denoiser, SanaDenoiser)
    text, mask, null, null_mask = pipeline.encode_prompt(
        PROMPTS, complex_human_instruction=denoiser._instruction, num_images_per_prompt=1
    )
    assert len(denoiser._instruction) > 3
    condition, empty = denoiser.condition(PROMPTS), denoiser.null_condition()
    torch.testing.assert_close(condition.streams["text"], text)
    assert torch.equal(condition.extras["mask"], mask)
    torch.testing.assert_close(empty.streams["text"].expand_as(null), null)
    assert torch.equal(empty.extras["mask"].expand_as(null_mask), null_mask)
    assert condition.free["text"].tolist() == [False] + [True] * 299


SAVED: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "sana": (make_sana, {"guidance_scale": 5.0, "use_resolution_binning": False}),
    "sana with Euler's steps": (lambda: make_sana(False), {"guidance_scale": 5.0, "use_resolution_binning": False}),
    "qwen image": (make_qwen_image, {"true_cfg_scale": 5.0, "negative_prompt": [" ", " "]}),
}
"""Makers, and what their pipelines are called with to guide as the adapters do."""


@pytest.mark.parametrize("name", SAVED)
def test_a_saved_model_is_sampled_and_measured_as_its_pipeline(
    name: str, tmp_path: Path, make_folder: Callable[..., Path]
) -> None:
    make, guided = SAVED[name]
    pipeline = make()
    pipeline.save_pretrained(tmp_path / "model")
    denoiser: Any = load_model(str(tmp_path / "model"), "cpu").denoiser
    # Pipelines around latents of one size do not save it.
    denoiser.pipeline.default_sample_size = SIDE
    latents, side = draw_noise([3, 11], denoiser.latent_shape), denoiser.resolution
    theirs = pipeline(
        PROMPTS, num_inference_steps=4, height=side, width=side, latents=denoiser._packed(latents), output_type="pt",
        **guided,
    ).images  # fmt: skip
    ours = denoiser.sample(denoiser.condition(PROMPTS), [3, 11], guidance_scale=5.0, num_inference_steps=4)
    torch.testing.assert_close(ours, theirs * 2 - 1, atol=1e-4, rtol=0)
    assert_measures(denoiser, make_folder)


def test_one_step_of_qwen_image_is_refused_before_anything_is_computed() -> None:
    denoiser = QwenImageDenoiser(make_qwen_image(), "fingerprint")
    require_steps(denoiser, 2)
    with pytest.raises(ConfigError, match="needs 2 sampling steps or more, but --num-inference-steps is 1"):
        require_steps(denoiser, 1)
    # At the fewest that are let through, images come out.
    images = denoiser.sample(denoiser.condition(["a"]), [1], guidance_scale=1.0, num_inference_steps=2)
    assert bool(torch.isfinite(images).all())
    assert FluxDenoiser.fewest_steps == 1


def test_padding_of_qwen_image_is_never_seen() -> None:
    denoiser = QwenImageDenoiser(make_qwen_image(), "fingerprint")
    both, null = denoiser.condition(PROMPTS), denoiser.null_condition()
    assert both.streams["text"].shape[1] == 512
    assert both.extras["mask"].sum(dim=1).diff().tolist() == [len(PROMPTS[1]) - len(PROMPTS[0])]
    assert torch.equal(null.free["text"], null.extras["mask"][0].bool()) and torch.equal(
        both.free["text"], null.free["text"]
    )
    noisy, timesteps = draw_noise([2], denoiser.latent_shape), torch.tensor([300])
    with torch.no_grad():
        alone = denoiser.predict(noisy, timesteps, denoiser.condition(PROMPTS[:1])).output
        padded = denoiser.predict(noisy.repeat(2, 1, 1, 1), timesteps.repeat(2), both).output
    torch.testing.assert_close(padded[:1], alone, atol=1e-5, rtol=1e-5)
    assert float((padded[1] - padded[0]).abs().max()) > 1e-3


def test_qwen_image_with_other_guidance_deviations_or_templates_is_refused() -> None:
    for values in ([1.0, 0.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0, "1"], [1.0, 1.0, 1.0, float("inf")]):
        pipeline = make_qwen_image()
        pipeline.vae.register_to_config(latents_std=values)
        with pytest.raises(ModelRefusedError, match=r"latents_std is .* expected 4 finite numbers"):
            adapt(pipeline)
    pipeline = make_qwen_image()
    pipeline.transformer.register_to_config(guidance_embeds=True)
    with pytest.raises(ModelRefusedError, match="embeds the guidance scale"):
        adapt(pipeline)
    pipeline = make_qwen_image()
    pipeline.prompt_template_encode_start_idx = 1000
    with pytest.raises(ModelRefusedError, match="fewer tokens of the template"):
        adapt(pipeline)


def test_flux_reads_as_many_tokens_of_t5_as_it_was_trained_with() -> None:
    for guidance_embeds, length in ((True, 512), (False, 256)):
        condition = adapt(make_flux(guidance_embeds)).condition(PROMPTS)
        assert condition.streams["text"].shape == (2, length, 32) and condition.streams["pooled"].shape == (2, 1, 32)
        assert all(bool(free.all()) for free in condition.free.values())


def test_distilled_models_say_that_they_have_no_null_branch() -> None:
    assert "guidance-distilled" in adapt(make_flux()).no_null
    schnell = adapt(make_flux(guidance_embeds=False))
    assert "samples in a few steps" in schnell.no_null and "guidance-distilled" not in schnell.no_null
    assert all("has no null branch" in adapt(make_flux(embeds)).no_null for embeds in (True, False))
    assert adapt(make_sd3()).no_null == adapt(make_pixart()).no_null == ""


REFUSED: dict[Callable[[], Any], str] = {
    lambda: make_sd3(invert_sigmas=True): "sets 'invert_sigmas'",
    lambda: make_sd3(stochastic_sampling=True): "sets 'stochastic_sampling'",
}


@pytest.mark.parametrize("make", REFUSED)
def test_schedulers_of_another_path_are_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(ModelRefusedError, match=REFUSED[make]):
        adapt(make())


@pytest.mark.parametrize("make", [make_sd3, make_flux])
def test_schedulers_of_another_kind_are_refused(make: Callable[[], Any]) -> None:
    for scheduler in (DDIMScheduler(), FlowMatchHeunDiscreteScheduler()):
        pipeline = make()
        pipeline.scheduler = scheduler
        with pytest.raises(ModelRefusedError, match=f"the scheduler is {type(scheduler).__name__}; this model"):
            adapt(pipeline)
    sana = make_sana()
    sana.scheduler = DDIMScheduler()
    with pytest.raises(ModelRefusedError, match="the scheduler is DDIMScheduler; this model"):
        adapt(sana)
    sana.scheduler = DPMSolverMultistepScheduler()
    with pytest.raises(ModelRefusedError, match="sets 'use_flow_sigmas' to False; this model predicts flows"):
        adapt(sana)
    pixart = make_pixart()
    pixart.scheduler = DDIMScheduler(prediction_type="v_prediction")
    with pytest.raises(ModelRefusedError, match="with prediction_type 'v_prediction'"):
        adapt(pixart)


@pytest.mark.parametrize("family_maker", [make_sd3, make_flux, make_pixart, make_sana])
def test_weights_sizes_and_channels_are_checked(family_maker: Callable[[], Any]) -> None:
    pipeline = family_maker()
    with torch.no_grad():
        next(pipeline.transformer.parameters()).fill_(float("nan"))
    with pytest.raises(ModelRefusedError, match="'transformer' has weights that are not finite"):
        adapt(pipeline)
    for key, value, reason in (("in_channels", 9, "only plain text-to-image"), ("patch_size", 3, "a multiple of")):
        pipeline = family_maker()
        pipeline.transformer.register_to_config(**{key: value})
        with pytest.raises(ModelRefusedError, match=reason):
            adapt(pipeline)
    pipeline = family_maker()
    pipeline.vae.register_to_config(scaling_factor=float("nan"))
    with pytest.raises(ModelRefusedError, match="expected finite numbers"):
        adapt(pipeline)


# What each adapter relies on. When an upgrade of diffusers changes it, read the family's pipeline again.
ENCODE_PROMPT = {
    "StableDiffusion3Pipeline": "prompt prompt_2 prompt_3 device num_images_per_prompt do_classifier_free_guidance "
    "negative_prompt negative_prompt_2 negative_prompt_3 prompt_embeds negative_prompt_embeds pooled_prompt_embeds "
    "negative_pooled_prompt_embeds clip_skip max_sequence_length lora_scale",
    "FluxPipeline": "prompt prompt_2 device num_images_per_prompt prompt_embeds pooled_prompt_embeds "
    "max_sequence_length lora_scale",
    "PixArtSigmaPipeline": "prompt do_classifier_free_guidance negative_prompt num_images_per_prompt device "
    "prompt_embeds negative_prompt_embeds prompt_attention_mask negative_prompt_attention_mask clean_caption "
    "max_sequence_length kwargs",
    "PixArtAlphaPipeline": "prompt do_classifier_free_guidance negative_prompt num_images_per_prompt device "
    "prompt_embeds negative_prompt_embeds prompt_attention_mask negative_prompt_attention_mask clean_caption "
    "max_sequence_length kwargs",
    "AuraFlowPipeline": "prompt negative_prompt do_classifier_free_guidance num_images_per_prompt device prompt_embeds "
    "negative_prompt_embeds prompt_attention_mask negative_prompt_attention_mask max_sequence_length lora_scale",
    "Lumina2Pipeline": "prompt do_classifier_free_guidance negative_prompt num_images_per_prompt device prompt_embeds "
    "negative_prompt_embeds prompt_attention_mask negative_prompt_attention_mask system_prompt max_sequence_length",
    "CogView4Pipeline": "prompt negative_prompt do_classifier_free_guidance num_images_per_prompt prompt_embeds "
    "negative_prompt_embeds device dtype max_sequence_length",
    "HunyuanDiTPipeline": "prompt device dtype num_images_per_prompt do_classifier_free_guidance negative_prompt "
    "prompt_embeds negative_prompt_embeds prompt_attention_mask negative_prompt_attention_mask max_sequence_length "
    "text_encoder_index",
    "QwenImagePipeline": "prompt device num_images_per_prompt prompt_embeds prompt_embeds_mask max_sequence_length",
    "Flux2Pipeline": "prompt device num_images_per_prompt prompt_embeds max_sequence_length text_encoder_out_layers",
    "Flux2KleinPipeline": "prompt device num_images_per_prompt prompt_embeds max_sequence_length "
    "text_encoder_out_layers",
    "ZImagePipeline": "prompt device do_classifier_free_guidance negative_prompt prompt_embeds negative_prompt_embeds "
    "max_sequence_length",
    "ChromaPipeline": "prompt negative_prompt device num_images_per_prompt prompt_embeds negative_prompt_embeds "
    "prompt_attention_mask negative_prompt_attention_mask do_classifier_free_guidance max_sequence_length lora_scale",
    "Krea2Pipeline": "prompt device num_images_per_prompt prompt_embeds prompt_embeds_mask max_sequence_length",
    "Ideogram4Pipeline": "prompt grid_h grid_w max_sequence_length device",
    "QwenImage21Pipeline": "prompt image device num_images_per_prompt prompt_embeds prompt_embeds_mask image_pad_mask",
    "HunyuanImagePipeline": "prompt device batch_size num_images_per_prompt prompt_embeds prompt_embeds_mask "
    "prompt_embeds_2 prompt_embeds_mask_2",
    "HiDreamImagePipeline": "prompt prompt_2 prompt_3 prompt_4 device dtype num_images_per_prompt "
    "do_classifier_free_guidance negative_prompt negative_prompt_2 negative_prompt_3 negative_prompt_4 "
    "prompt_embeds_t5 prompt_embeds_llama3 negative_prompt_embeds_t5 negative_prompt_embeds_llama3 "
    "pooled_prompt_embeds negative_pooled_prompt_embeds max_sequence_length lora_scale",
    "Kandinsky5T2IPipeline": "prompt num_images_per_prompt max_sequence_length device dtype",
    "SanaPipeline": "prompt do_classifier_free_guidance negative_prompt num_images_per_prompt device prompt_embeds "
    "negative_prompt_embeds prompt_attention_mask negative_prompt_attention_mask clean_caption max_sequence_length "
    "complex_human_instruction lora_scale",
}


@pytest.mark.parametrize("family", ENCODE_PROMPT)
def test_prompts_are_encoded_as_when_the_adapter_was_written(family: str) -> None:
    parameters = inspect.signature(getattr(diffusers, family).encode_prompt).parameters
    assert list(parameters)[1:] == ENCODE_PROMPT[family].split(), (
        f"diffusers {diffusers.__version__} changed {family}.encode_prompt: compare it with the adapter"
    )

"""FLUX.2, Z-Image, Krea 2, Ideogram 4 and Chroma: what others have not, and what is refused of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from diffusers import DDIMScheduler

from imgaudit.benchmark.robustness.broken_model import BrokenModel
from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.seeds import draw_noise
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models import load_model
from imgaudit.models.families.patched_autoencoder import PatchedAutoencoderDenoiser
from imgaudit.models.families.transformer import TransformerDenoiser
from tests.support.measured import assert_measures
from tests.support.tiny_families import SIDE
from tests.support.tiny_newer_families import (
    NEWER_DENOISERS,
    NEWER_MAKERS,
    make_chroma,
    make_flux2,
    make_flux2_klein,
    make_krea2,
    make_z_image,
)
from tests.support.tiny_transformers import adapt

PROMPTS = ["a red fox", "one old clock and a boat"]
DISTILLED = {"klein": make_flux2_klein, "krea": make_krea2}


@pytest.fixture(params=NEWER_DENOISERS)
def denoiser(request: pytest.FixtureRequest) -> TransformerDenoiser:
    return adapt(NEWER_DENOISERS[request.param]())


@pytest.mark.parametrize("name", NEWER_MAKERS)
def test_a_saved_model_is_sampled_and_measured_as_its_pipeline(
    name: str, tmp_path: Path, make_folder: Callable[..., Path]
) -> None:
    pipeline = NEWER_MAKERS[name]()
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    pipeline.save_pretrained(tmp_path / "model")
    denoiser: Any = load_model(str(tmp_path / "model"), "cpu").denoiser
    # Pipelines around latents of one size do not save it.
    denoiser.pipeline.default_sample_size = SIDE
    latents, side = draw_noise([3, 11], denoiser.latent_shape), denoiser.resolution
    # By default one pipeline takes another scale at each of so many steps.
    scheduled = {"guidance_schedule": None} if name == "Ideogram4Pipeline" else {}
    theirs = pipeline(
        prompt=list(PROMPTS), num_inference_steps=4, height=side, width=side, latents=denoiser._packed(latents),
        output_type="pt", guidance_scale=5.0 - denoiser.guidance_offset, max_sequence_length=512, **scheduled,
    ).images  # fmt: skip
    ours = denoiser.sample(denoiser.condition(PROMPTS), [3, 11], guidance_scale=5.0, num_inference_steps=4)
    torch.testing.assert_close(ours, theirs * 2 - 1, atol=1e-4, rtol=0)
    assert_measures(denoiser, make_folder)


def test_a_condition_is_the_same_alone_and_beside_a_longer_one(denoiser: TransformerDenoiser) -> None:
    noisy, timesteps = draw_noise([2], denoiser.latent_shape), torch.tensor([300])
    with torch.no_grad():
        alone = denoiser.predict(noisy, timesteps, denoiser.condition(PROMPTS[:1])).output
        both = denoiser.predict(noisy.repeat(2, 1, 1, 1), timesteps.repeat(2), denoiser.condition(PROMPTS)).output
    torch.testing.assert_close(both[:1], alone, atol=1e-5, rtol=1e-5)
    assert float((both[1] - both[0]).abs().max()) > 1e-3


def test_every_free_row_of_the_start_moves_by_itself(denoiser: TransformerDenoiser) -> None:
    start = denoiser.start_condition()
    text, free = start.streams["text"].clone().requires_grad_(True), start.free["text"]
    noisy = draw_noise([2], denoiser.latent_shape)
    output = denoiser.predict(noisy, torch.tensor([300]), start.with_streams({"text": text})).output
    [gradient] = torch.autograd.grad(output.square().sum(), text)
    assert bool(torch.isfinite(gradient).all()) and bool((gradient[0, free] != 0).any(dim=1).all())
    assert not bool(gradient[0, ~free].any())
    assert len({tuple(row.tolist()) for row in gradient[0, free]}) == int(free.sum())


def test_rows_that_are_free_are_those_that_the_empty_prompt_shows() -> None:
    denoisers = [adapt(make()) for make in (make_krea2, make_z_image, make_flux2)]
    krea, z_image, flux2 = (denoiser.condition(PROMPTS) for denoiser in denoisers)
    assert krea.free["text"].tolist() == [False] * 507 + [True] * 5
    assert krea.streams["text"].shape == (2, 512, 12 * 16)
    tokens = denoisers[0].pipeline.tokenizer(PROMPTS).input_ids
    assert krea.extras["mask"].sum(dim=1).tolist() == [len(own) + 5 for own in tokens]
    around = int(z_image.free["text"].sum())
    assert z_image.extras["mask"].sum(dim=1).tolist() == [len(prompt) + around for prompt in PROMPTS]
    assert bool(flux2.free["text"].all()) and flux2.streams["text"].shape == (2, 512, 48) and not flux2.extras


def test_krea2_shows_of_a_text_as_many_rows_as_of_none() -> None:
    denoiser = adapt(make_krea2())
    start, whole, seen = denoiser.start_condition(), denoiser.condition(PROMPTS), denoiser.unmasked_condition(PROMPTS)
    shown = start.extras["mask"][0].bool()
    assert torch.equal(seen.extras["mask"], start.extras["mask"].expand(2, -1))
    assert torch.equal(seen.streams["text"][:, shown], whole.streams["text"][:, shown])
    assert not bool(seen.streams["text"][:, ~shown].any()) and bool(whole.streams["text"][:, ~shown].any())


def test_z_image_shows_of_a_text_the_rows_of_the_template() -> None:
    denoiser = adapt(make_z_image())
    start, whole, seen = denoiser.start_condition(), denoiser.condition(PROMPTS), denoiser.unmasked_condition(PROMPTS)
    before, shown = 1 + len("user\n"), int(start.extras["mask"].sum())
    assert torch.equal(seen.extras["mask"], start.extras["mask"].expand(2, -1))
    for text, own, mask in zip(seen.streams["text"], whole.streams["text"], whole.extras["mask"], strict=True):
        length = int(mask.sum())
        assert torch.equal(text[:before], own[:before])
        assert torch.equal(text[before:shown], own[length - (shown - before) : length])
        assert not bool(text[shown:].any())
    torch.testing.assert_close(dict(denoiser.unmasked_condition([""]).streams), dict(start.streams))


def test_chroma_counts_padding_for_less_and_has_no_checkpoints() -> None:
    denoiser = adapt(make_chroma())
    condition = denoiser.condition(PROMPTS)
    noisy, timesteps = draw_noise([2, 2], denoiser.latent_shape), torch.tensor([300, 300])
    # The tokens of each prompt, its end, and one of padding.
    tokens = denoiser.pipeline.tokenizer(PROMPTS).input_ids
    assert condition.extras["mask"].sum(dim=1).tolist() == [len(own) + 1 for own in tokens]
    changed = condition.streams["text"].clone()
    changed[:, 400] += 1.0
    whole = PromptEmbeds(condition.streams, condition.free, {"mask": torch.ones_like(condition.extras["mask"])})

    def answer(embeds: PromptEmbeds) -> torch.Tensor:
        with torch.no_grad():
            return denoiser.predict(noisy, timesteps, embeds).output

    assert not torch.equal(answer(condition.with_streams({"text": changed})), answer(condition))
    assert not torch.allclose(answer(whole), answer(condition), atol=1e-6)
    assert denoiser.spare_memory() is False and not denoiser.network.is_gradient_checkpointing
    assert bool(denoiser.start_condition().extras["mask"].all())


@pytest.mark.parametrize("name", [name for name in NEWER_DENOISERS if name != "chroma"])
def test_a_prompt_within_a_template_is_read_up_to_the_length_that_is_said(name: str) -> None:
    denoiser = adapt(NEWER_DENOISERS[name]())
    [(_, length)] = denoiser._text_lengths().values()
    assert denoiser.cut_tokens("o" * length) == {} and denoiser.cut_tokens("o" * (length + 3)) == {"text_encoder": 3}
    assert denoiser.characters_read("o" * (length + 3)) == {"text_encoder": length}
    texts = ["o" * (length - 1) + "x", "o" * length, "o" * length + "x"]
    first, second, third = denoiser.condition(texts).streams["text"]
    assert not torch.equal(first, second)
    torch.testing.assert_close(second, third)


def test_prompts_are_encoded_without_being_written_over(denoiser: TransformerDenoiser) -> None:
    prompts = list(PROMPTS)
    condition = denoiser.condition(prompts)
    assert prompts == PROMPTS
    torch.testing.assert_close(dict(denoiser.condition(prompts).streams), dict(condition.streams))


@pytest.mark.parametrize("name", DISTILLED)
def test_models_that_say_that_they_are_distilled_are_sampled_without_guidance(name: str) -> None:
    denoiser = adapt(DISTILLED[name](is_distilled=True))
    assert "samples in a few steps (is_distilled in its model_index.json)" in denoiser.no_null
    assert not denoiser.is_guided_by_null and adapt(DISTILLED[name]()).no_null == ""
    condition = denoiser.condition(PROMPTS[:1])
    one, five = (denoiser.sample(condition, [1], guidance_scale=scale, num_inference_steps=2) for scale in (1, 5))
    assert torch.equal(one, five) and denoiser.network_evaluations == 4


def test_guidance_of_dev_is_embedded() -> None:
    denoiser = adapt(make_flux2())
    condition = denoiser.condition(PROMPTS[:1])
    one, five = (denoiser.sample(condition, [1], guidance_scale=scale, num_inference_steps=2) for scale in (1, 5))
    assert not torch.allclose(one, five, atol=1e-4) and denoiser.network_evaluations == 4
    assert "guidance-distilled" in denoiser.no_null and not denoiser.is_guided_by_null


@pytest.mark.parametrize("family", [name for name in NEWER_MAKERS if name not in ("ChromaPipeline",)])
def test_the_switch_and_the_template_are_loaded_and_are_part_of_the_fingerprint(
    family: str, copied_family: Callable[[str], BrokenModel]
) -> None:
    model = copied_family(family)
    before = load_model(str(model.path), "cpu")
    if family in ("Flux2KleinPipeline", "Krea2Pipeline"):
        model.change("model_index.json", {"is_distilled": True})
        assert cast(Any, load_model(str(model.path), "cpu").denoiser)._is_step_distilled
        model.change("model_index.json", {"is_distilled": False})
    template = model.path / "tokenizer/chat_template.jinja"
    model.write("tokenizer/chat_template.jinja", template.read_bytes() + b" ")
    after = load_model(str(model.path), "cpu")
    assert "tokenizer/chat_template.jinja" in after.files
    assert after.denoiser.fingerprint != before.denoiser.fingerprint


TEMPLATES = {
    b"nothing": "leaves out the prompt",
    b"{{ 'word ' * 600 }}{{ messages[-1].content }}": "tokens of the chat template before a prompt",
    b"{% for": "cannot be loaded",
}


@pytest.mark.parametrize("family", ["Flux2KleinPipeline", "ZImagePipeline"])
@pytest.mark.parametrize("template", TEMPLATES)
def test_templates_without_room_for_a_prompt_are_refused(
    template: bytes, family: str, copied_family: Callable[[str], BrokenModel]
) -> None:
    model = copied_family(family)
    model.write("tokenizer/chat_template.jinja", template)
    with pytest.raises(ModelRefusedError, match=TEMPLATES[template]):
        load_model(str(model.path), "cpu")


@pytest.mark.parametrize("family", NEWER_DENOISERS)
def test_schedulers_weights_sizes_and_channels_are_checked(family: str) -> None:
    pipeline = NEWER_DENOISERS[family]()
    scheduler, pipeline.scheduler = pipeline.scheduler, DDIMScheduler()
    with pytest.raises(ModelRefusedError, match="the scheduler is DDIMScheduler; this model predicts flows"):
        adapt(pipeline)
    pipeline.scheduler = scheduler
    pipeline.transformer.register_to_config(in_channels=9)
    with pytest.raises(ModelRefusedError, match="only plain text-to-image"):
        adapt(pipeline)
    pipeline.transformer.register_to_config(in_channels=4 if family == "z-image" else 16)
    for side in (0, 10**6):
        pipeline.default_sample_size = side
        with pytest.raises(ModelRefusedError, match=r"sample_size is .* expected the side of the latents"):
            adapt(pipeline)
    pipeline.default_sample_size = SIDE
    with torch.no_grad():
        next(pipeline.transformer.parameters()).fill_(float("nan"))
    with pytest.raises(ModelRefusedError, match="'transformer' has weights that are not finite"):
        adapt(pipeline)


@pytest.mark.parametrize("make", [make_flux2, make_flux2_klein])
def test_statistics_that_cannot_be_divided_by_are_refused(make: Callable[[], Any]) -> None:
    pipeline = make()
    pipeline.vae.bn.running_var[3] = -1.0
    with pytest.raises(ModelRefusedError, match="variances that are not above 0"):
        adapt(pipeline)
    pipeline.vae.bn.running_var[3] = float("nan")
    with pytest.raises(ModelRefusedError, match="'vae' has weights that are not finite"):
        adapt(pipeline)
    pipeline = make()
    pipeline.vae.bn = torch.nn.BatchNorm2d(8, affine=False)
    with pytest.raises(ModelRefusedError, match="batch norm has 8 channels; expected 16"):
        adapt(pipeline)
    for least in (float("nan"), -1.0, "0"):
        pipeline = make()
        pipeline.vae.register_to_config(batch_norm_eps=least)
        with pytest.raises(ModelRefusedError, match=r"batch_norm_eps is .*; expected a finite number"):
            adapt(pipeline)
    pipeline = make()
    pipeline.transformer.register_to_config(guidance_embeds=not pipeline.transformer.config.guidance_embeds)
    with pytest.raises(ModelRefusedError, match=r"guidance_embeds is .* of a Flux2"):
        adapt(pipeline)


def test_latents_of_flux2_are_standardised_channel_by_channel() -> None:
    denoiser = adapt(make_flux2_klein())
    assert isinstance(denoiser, PatchedAutoencoderDenoiser)
    assert denoiser.latent_shape == (16, SIDE // 2, SIDE // 2) and denoiser.resolution == 2 * SIDE
    latents = torch.randn(2, *denoiser.latent_shape, generator=torch.Generator().manual_seed(1))
    # What the pipeline decodes of latents at the end of its steps.
    theirs = denoiser.pipeline._unpatchify_latents(
        latents * torch.linspace(0.1, 3.0, 16).add(1e-4).sqrt()[:, None, None]
        + torch.linspace(-0.5, 0.5, 16)[:, None, None]
    )
    with torch.no_grad():
        decoded = denoiser.pipeline.vae.decode(theirs).sample.clamp(-1, 1)
    torch.testing.assert_close(denoiser.decode(latents), decoded, atol=1e-5, rtol=1e-5)


def test_z_image_of_other_kinds_is_refused() -> None:
    for key, value, reason in (
        ("siglip_feat_dim", 8, "it takes images besides text"),
        ("all_patch_size", (4,), r"expected \[2\] and \[1\]"),
        ("axes_lens", [513, 256, 256], "expected at least"),
        ("axes_lens", [600, 256, 3], "expected at least"),
    ):
        pipeline = make_z_image()
        pipeline.transformer.register_to_config(**{key: value})
        with pytest.raises(ModelRefusedError, match=reason):
            adapt(pipeline)
    pipeline = make_z_image()
    pipeline.vae.register_to_config(shift_factor=None)
    with pytest.raises(ModelRefusedError, match="names no shift_factor"):
        adapt(pipeline)


def test_a_z_image_that_has_few_places_is_one_of_small_images() -> None:
    pipeline = make_z_image()
    del pipeline.default_sample_size
    # The pipeline makes images of 1,024 pixels, and its autoencoder halves them once.
    pipeline.transformer.register_to_config(axes_lens=[600, 256, 256])
    assert adapt(pipeline).resolution == 1024
    pipeline.transformer.register_to_config(axes_lens=[514, 5, 4])
    denoiser = adapt(pipeline)
    assert denoiser.latent_shape == (4, 8, 8) and denoiser.resolution == 16


def test_krea2_of_other_layers_or_templates_is_refused() -> None:
    pipeline = make_krea2()
    pipeline.transformer.register_to_config(num_text_layers=11)
    with pytest.raises(ModelRefusedError, match="num_text_layers is 11; expected 12"):
        adapt(pipeline)
    pipeline = make_krea2()
    pipeline.prompt_template_encode_suffix = "<|im_end|>"
    with pytest.raises(ModelRefusedError, match=r"makes 34 and 1 tokens of the template .* counts on 34 and 5"):
        adapt(pipeline)

"""Families whose prompts are passed on in groups, against their own pipelines, on tiny models of the real classes."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.seeds import draw_noise
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models import load_model
from imgaudit.models.families.hunyuan_image import HunyuanImageDenoiser
from imgaudit.models.families.kandinsky5 import Kandinsky5Denoiser
from imgaudit.models.families.padded_text import fill_up
from imgaudit.models.families.qwen_image_21 import QwenImage21Denoiser
from imgaudit.models.families.short_template import START_ROWS
from imgaudit.models.families.transformer import TransformerDenoiser
from imgaudit.models.text_processor import TextProcessor
from tests.benchmark.speed.test_memory import assert_same_counts
from tests.models.families import test_transformer as every
from tests.support.measured import assert_measures
from tests.support.tiny_template_text import (
    TEMPLATE_MAKERS,
    make_hunyuan_image,
    make_kandinsky5,
    make_qwen_image_21,
    make_small,
)
from tests.support.tiny_transformers import adapt

PROMPTS = ["a red fox", 'a sign that reads "one old clock"']
"""Of two lengths, and one of them with quoted words."""

SEEDS = [3, 11]


@pytest.fixture(params=TEMPLATE_MAKERS)
def denoiser(request: pytest.FixtureRequest) -> TransformerDenoiser:
    return adapt(TEMPLATE_MAKERS[request.param]())


# What holds for every family, on these.
test_weights_are_frozen = every.test_weights_are_frozen_and_evaluations_counted
test_no_words = every.test_adapters_that_mix_no_words_have_none_to_search_over
test_inversion = every.test_inversion_changes_every_stream_and_lowers_the_error
test_a_chunk = every.test_a_chunk_goes_through_the_whole_protocol


@pytest.mark.parametrize("make", [make_qwen_image_21, make_hunyuan_image])
def test_gradients_match_central_differences(make: Callable[[], Any]) -> None:
    # Kandinsky's network rounds queries and keys to bfloat16 whatever comes, and cannot be made of double precision.
    every.test_gradients_reach_every_stream_and_match_central_differences(adapt(make()))


def guide(pipeline: Any, scale: float) -> dict[str, Any]:
    """Have a pipeline guide at a scale, and return the arguments of its call with which it does."""
    match type(pipeline).__name__:
        case "QwenImage21Pipeline":
            return {"true_cfg_scale": scale} | ({"negative_prompt": [""]} if scale > 1 else {})
        case "HunyuanImagePipeline":
            for name in ("guider", "ocr_guider"):
                setattr(pipeline, name, getattr(pipeline, name).new(guidance_scale=scale))
            return {}
        case _:
            return {"guidance_scale": scale}


def seen(images: torch.Tensor) -> torch.Tensor:
    """Images of a pipeline in [0, 1], as they look on white, in [-1, 1]."""
    if images.shape[1] == 4:
        images = images[:, :3] * images[:, 3:] + 1 - images[:, 3:]
    return images * 2 - 1


def generate_alone(denoiser: TransformerDenoiser, pipeline: Any, latents: torch.Tensor, scale: float) -> torch.Tensor:
    """The images that a pipeline makes of each prompt by itself."""
    side = denoiser.resolution
    return torch.cat(
        [
            seen(
                pipeline(
                    prompt=[prompt], num_inference_steps=4, height=side, width=side, output_type="pt",
                    latents=denoiser._packed(own), return_dict=False, **guide(pipeline, scale),
                )[0]
            )
            for prompt, own in zip(PROMPTS, latents.split(1), strict=True)
        ]
    )  # fmt: skip


@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
@pytest.mark.parametrize("family", TEMPLATE_MAKERS)
def test_samples_are_the_pipelines_own_images_of_each_prompt_alone(family: str, guidance_scale: float) -> None:
    pipeline = TEMPLATE_MAKERS[family]()
    denoiser = adapt(TEMPLATE_MAKERS[family]())
    latents, condition = draw_noise(SEEDS, denoiser.latent_shape), denoiser.condition(PROMPTS)
    options: dict[str, Any] = {"guidance_scale": guidance_scale, "num_inference_steps": 4}
    ours = denoiser.sample(condition, SEEDS, latents=latents, **options)
    theirs = generate_alone(denoiser, pipeline, latents, guidance_scale)
    assert ours.shape == (2, 3, denoiser.resolution, denoiser.resolution) and float(ours.std()) > 0.01
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
    drawn = denoiser.sample(condition, SEEDS, **options)
    backward = denoiser.sample(condition.select(torch.tensor([1, 0])), SEEDS[::-1], **options)
    torch.testing.assert_close(drawn, backward.flip(0), atol=1e-5, rtol=0)
    # Kandinsky draws noise with its channels last.
    if family != "Kandinsky5T2IPipeline":
        torch.testing.assert_close(drawn, ours, atol=1e-5, rtol=0)


def unpack(denoiser: TransformerDenoiser, state: torch.Tensor, side: int) -> torch.Tensor:
    """Latents that a pipeline has between steps, as (N, C, h, 2 h)."""
    if isinstance(denoiser, Kandinsky5Denoiser):
        return state[:, 0].movedim(-1, 1)
    return denoiser._unpacked(state, side, 2 * side) if isinstance(denoiser, QwenImage21Denoiser) else state


def test_a_prediction_is_what_the_scheduler_steps_along(denoiser: TransformerDenoiser) -> None:
    pipeline = denoiser.pipeline
    # Without a shift the pipeline's timesteps are whole ones, which the adapter has too.
    pipeline.scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)
    channels, side, _ = denoiser.latent_shape
    timesteps: list[float] = []
    states = [denoiser._packed(draw_noise([5], (channels, side, 2 * side)))]

    def keep(pipeline: Any, step: int, timestep: torch.Tensor, tensors: dict[str, Any]) -> dict[str, Any]:
        timesteps.append(float(timestep))
        states.append(tensors["latents"])
        return {}

    pipeline(
        prompt=PROMPTS[1:], num_inference_steps=4, output_type="latent", callback_on_step_end=keep, latents=states[0],
        height=denoiser.resolution, width=2 * denoiser.resolution, **guide(pipeline, 1.0),
    )  # fmt: skip
    assert timesteps[0] == 1000 and len(timesteps) == 4
    sigmas, condition = pipeline.scheduler.sigmas, denoiser.condition(PROMPTS[1:])
    for number, timestep in enumerate(timesteps):
        noisy = unpack(denoiser, states[number], side)
        with torch.no_grad():
            flow = denoiser.predict(noisy, torch.tensor([round(timestep) - 1]), condition).output
        stepped = noisy + (sigmas[number + 1] - sigmas[number]) * flow
        torch.testing.assert_close(stepped, unpack(denoiser, states[number + 1], side), atol=1e-5, rtol=1e-5)


def test_a_prompt_is_the_same_beside_a_longer_one(denoiser: TransformerDenoiser) -> None:
    noisy, timesteps = draw_noise(SEEDS, denoiser.latent_shape), torch.tensor([300, 800])
    both = denoiser.condition(PROMPTS)
    assert len(set(both.extras["mask"].sum(dim=1).tolist())) == 2
    with torch.no_grad():
        together = denoiser.predict(noisy, timesteps, both).output
        for row, prompt in enumerate(PROMPTS):
            condition, place = denoiser.condition([prompt]), slice(row, row + 1)
            for name, stream in condition.streams.items():
                torch.testing.assert_close(both.streams[name][place], stream, atol=1e-5, rtol=1e-5)
            alone = denoiser.predict(noisy[place], timesteps[place], condition).output
            # Kandinsky's network rounds to bfloat16 within, and the last bit before that depends on the batch.
            near = 1e-2 if isinstance(denoiser, Kandinsky5Denoiser) else 1e-5
            torch.testing.assert_close(together[place], alone, atol=near, rtol=near)
    assert float((together[1] - together[0]).abs().max()) > 1e-3


def test_gradients_reach_every_free_row_and_no_other(denoiser: TransformerDenoiser) -> None:
    start = denoiser.start_condition()
    leaves = {name: stream.clone().requires_grad_(True) for name, stream in start.streams.items()}
    noisy = draw_noise([2], denoiser.latent_shape)
    output = denoiser.predict(noisy, torch.tensor([300]), start.with_streams(leaves)).output
    output.square().sum().backward()
    for name, leaf in leaves.items():
        assert leaf.grad is not None and bool(torch.isfinite(leaf.grad).all())
        assert torch.equal((leaf.grad[0] != 0).any(dim=1), start.free[name])


def test_images_go_through_the_autoencoder_as_in_the_pipeline(denoiser: TransformerDenoiser) -> None:
    images = torch.rand(2, 3, denoiser.resolution, denoiser.resolution) * 2 - 1
    vae, latents = denoiser.pipeline.vae, denoiser.encode(images)
    assert latents.shape == (2, *denoiser.latent_shape)
    with torch.no_grad():
        if isinstance(denoiser, QwenImage21Denoiser):
            opaque = torch.cat([images, torch.ones(2, 1, *images.shape[2:])], dim=1)
            mode = vae.encode(opaque[:, :, None]).latent_dist.mode()
            mean, deviation = (torch.tensor(one) for one in (vae.config.latents_mean, vae.config.latents_std))
            expected = ((mode[:, :, 0].movedim(1, -1) - mean) / deviation).movedim(-1, 1)
            decoded = seen((vae.decode(mode).sample[:, :, 0].clamp(-1, 1) + 1) / 2)
        else:
            mode = vae.encode(images).latent_dist.mode()
            # Kandinsky's pipelines leave out the shift of their autoencoder, 0.1 here.
            expected, decoded = mode * vae.config.scaling_factor, vae.decode(mode).sample.clamp(-1, 1)
    torch.testing.assert_close(latents, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(denoiser.decode(latents), decoded, atol=1e-5, rtol=1e-5)


def test_inversions_start_from_rows_that_every_text_can_have(denoiser: TransformerDenoiser) -> None:
    start, other = denoiser.start_condition(), denoiser.unmasked_condition(PROMPTS)
    free = start.free["text"]
    assert torch.equal(free, start.extras["mask"][0].bool()) and torch.equal(free, other.free["text"])
    assert torch.equal(other.extras["mask"], start.extras["mask"].expand(2, -1))
    assert other.streams.keys() == start.streams.keys() and other.extras.keys() == start.extras.keys()
    assert not bool(other.streams["text"][:, ~free].any()) and not bool(start.streams["text"][:, ~free].any())
    assert len({tuple(row) for row in start.streams["text"][0, free].tolist()}) == int(free.sum())
    assert denoiser.vocabulary and denoiser.no_null == ""


@pytest.mark.parametrize("make", [make_hunyuan_image, make_kandinsky5])
def test_a_start_of_more_rows_says_nearly_as_little_as_the_empty_prompt(make: Callable[[], Any]) -> None:
    denoiser = adapt(make())
    null, start = denoiser.null_condition(), denoiser.start_condition()
    # Cut so that one row of the template's end is left, as in the published models.
    row = int(null.extras["mask"].sum()) - 1
    text = torch.zeros_like(null.streams["text"])
    text[:, 0] = null.streams["text"][:, row]
    mask = torch.zeros_like(null.extras["mask"])
    mask[:, 0] = 1
    single = PromptEmbeds({**null.streams, "text": text}, null.free, {**null.extras, "mask": mask})
    shown = denoiser._show_first_rows(single)  # type: ignore[attr-defined]
    assert torch.equal(shown.extras["mask"], start.extras["mask"])
    rows = shown.streams["text"][0, :START_ROWS]
    assert torch.equal(rows, rows[:1].expand_as(rows))
    noisy, timesteps = draw_noise([2], denoiser.latent_shape), torch.tensor([300])
    with torch.no_grad():
        outputs = [
            denoiser.predict(noisy, timesteps, one).output for one in (single, shown, denoiser.condition(PROMPTS[:1]))
        ]
    assert float((outputs[1] - outputs[0]).abs().max()) < float((outputs[2] - outputs[0]).abs().max())


def test_what_is_cut_of_a_prompt_is_counted(denoiser: TransformerDenoiser) -> None:
    length = denoiser._text_lengths()["text_encoder"][1]
    assert "text_encoder" not in denoiser.cut_tokens("o" * length)
    assert denoiser.cut_tokens("o" * (length + 1))["text_encoder"] == 1
    assert int(denoiser.condition(["o" * length]).extras["mask"].sum()) == denoiser.max_sequence_length


@pytest.mark.parametrize("family", TEMPLATE_MAKERS)
def test_a_saved_model_is_sampled_and_measured_as_its_pipeline(
    family: str, tmp_path: Path, make_folder: Callable[..., Path]
) -> None:
    pipeline = TEMPLATE_MAKERS[family]()
    pipeline.save_pretrained(tmp_path / "model")
    denoiser: Any = load_model(str(tmp_path / "model"), "cpu").denoiser
    make_small(denoiser.pipeline)
    latents = draw_noise(SEEDS, denoiser.latent_shape)
    ours = denoiser.sample(
        denoiser.condition(PROMPTS), SEEDS, guidance_scale=5.0, num_inference_steps=4, latents=latents
    )
    torch.testing.assert_close(ours, generate_alone(denoiser, pipeline, latents, 5.0), atol=1e-4, rtol=0)
    assert_measures(denoiser, make_folder)


def test_the_pipelines_themselves_make_other_images_of_a_prompt_beside_others() -> None:
    # Where this changes, prompts need no longer be passed on apart.
    for make in (make_qwen_image_21, make_kandinsky5, make_hunyuan_image):
        pipeline = make()
        denoiser = adapt(make())
        latents, side = draw_noise(SEEDS, denoiser.latent_shape), denoiser.resolution
        scale = 1.0 if make is make_qwen_image_21 else 5.0
        together, *_ = pipeline(
            prompt=PROMPTS, num_inference_steps=4, height=side, width=side, output_type="pt", return_dict=False,
            latents=denoiser._packed(latents), **guide(pipeline, scale),
        )  # fmt: skip
        alone = generate_alone(denoiser, pipeline, latents, scale)
        assert float((seen(together)[0] - alone[0]).abs().max()) > 1e-3


def test_a_processor_of_text_alone_encodes_as_the_real_one() -> None:
    for make, name in ((make_qwen_image_21, "processor"), (make_kandinsky5, "tokenizer")):
        pipeline = make()
        real = pipeline.encode_prompt(PROMPTS)
        message = [{"role": "system", "content": [{"type": "text", "text": "Look closely."}]}]
        processor = getattr(pipeline, name)
        ours = TextProcessor(processor.tokenizer)
        assert ours.apply_chat_template(message, tokenize=True, return_dict=False) == processor.apply_chat_template(
            message, tokenize=True, return_dict=False
        )
        setattr(pipeline, name, ours)
        for found, expected in zip(pipeline.encode_prompt(PROMPTS), real, strict=True):
            assert torch.equal(found, expected)


def test_quoted_words_ride_along_and_choose_the_guider() -> None:
    denoiser = adapt(make_hunyuan_image())
    assert isinstance(denoiser, HunyuanImageDenoiser)
    condition, null = denoiser.condition(PROMPTS), denoiser.null_condition()
    assert condition.extras["glyph_mask"].any(dim=1).tolist() == [False, True]
    assert not bool(null.extras["glyphs"].any()) and list(null.streams) == ["text"]
    assert denoiser._kinds(condition).tolist() == [0, 1]
    assert not bool(denoiser.unmasked_condition(PROMPTS).extras["glyph_mask"].any())


def test_states_are_filled_up_with_zeros_or_cut() -> None:
    text, mask = torch.ones(1, 3, 2), torch.tensor([[1, 1, 0]])
    filled, seen = fill_up(text, mask, 5)
    assert filled[0, :, 0].tolist() == [1, 1, 0, 0, 0] and seen.tolist() == [[1, 1, 0, 0, 0]]
    cut, all_seen = fill_up(text, None, 2)
    assert cut.shape == (1, 2, 2) and all_seen.tolist() == [[1, 1]]


REFUSED: Mapping[str, tuple[Callable[[], Any], str]] = {
    "guidance": (lambda: make_hunyuan_image(guidance_embeds=True), "sets 'guidance_embeds', as the distilled model"),
    "mean flow": (lambda: make_hunyuan_image(use_meanflow=True), "sets 'use_meanflow', as the distilled model does"),
    "large patches": (lambda: make_hunyuan_image(patch_size=(2, 2)), "patch_size is .*; expected"),
    "edits": (lambda: make_kandinsky5(visual_cond=True), "sets 'visual_cond', as models do that edit images"),
    "other patches": (lambda: make_kandinsky5(patch_size=(1, 1, 1)), "patch_size is .*; expected"),
    "stochastic": (lambda: make_qwen_image_21(stochastic_sampling=True), "sets 'stochastic_sampling'"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_kinds_of_these_models_are_refused(kind: str) -> None:
    make, reason = REFUSED[kind]
    with pytest.raises(ModelRefusedError, match=reason):
        adapt(make())


@pytest.mark.parametrize("family", TEMPLATE_MAKERS)
def test_schedulers_weights_sizes_and_factors_are_checked(family: str) -> None:
    make = TEMPLATE_MAKERS[family]
    for scheduler in (DDIMScheduler(), FlowMatchHeunDiscreteScheduler()):
        pipeline = make()
        pipeline.scheduler = scheduler
        with pytest.raises(ModelRefusedError, match=f"the scheduler is {type(scheduler).__name__}; this model"):
            adapt(pipeline)
    for part in ("transformer", "vae", "text_encoder"):
        pipeline = make()
        with torch.no_grad():
            next(getattr(pipeline, part).parameters()).fill_(float("nan"))
        with pytest.raises(ModelRefusedError, match=f"'{part}' has weights that are not finite"):
            adapt(pipeline)
    pipeline = make()
    taken = "in_visual_dim" if family == "Kandinsky5T2IPipeline" else "in_channels"
    pipeline.transformer.register_to_config(**{taken: 9})
    with pytest.raises(ModelRefusedError, match="the transformer takes 9 channels but latents have 4"):
        adapt(pipeline)
    pipeline = make()
    pipeline.default_sample_size = 10**6
    with pytest.raises(ModelRefusedError, match="sample_size is 1000000"):
        adapt(pipeline)
    pipeline = make()
    factors = "latents_std" if family == "QwenImage21Pipeline" else "scaling_factor"
    pipeline.vae.register_to_config(**{factors: [0.0] * 4 if factors == "latents_std" else float("nan")})
    with pytest.raises(ModelRefusedError, match=f"the autoencoder's {factors} is"):
        adapt(pipeline)


def test_memory_is_counted_without_data_as_with_it(denoiser: TransformerDenoiser) -> None:
    assert_same_counts(denoiser)


def test_what_only_one_family_has_is_checked() -> None:
    pipeline = make_qwen_image_21()
    pipeline.register_to_config(sample_sigmas=[1.0, 0.5])
    with pytest.raises(ModelRefusedError, match="sets 'sample_sigmas', as models do that are distilled"):
        adapt(pipeline)
    pipeline = make_qwen_image_21()
    pipeline.vae.register_to_config(in_channels=3)
    with pytest.raises(ModelRefusedError, match="takes images of 3 channels and makes 4; expected 4, red"):
        adapt(pipeline)
    pipeline = make_qwen_image_21()
    pipeline.default_sample_size = 5
    with pytest.raises(ModelRefusedError, match="latents have a side of 5"):
        adapt(pipeline)
    pipeline = make_hunyuan_image()
    pipeline.guider = None
    with pytest.raises(ModelRefusedError, match="has no guider"):
        adapt(pipeline)
    for make, cut in ((make_qwen_image_21, "_drop_idx"), (make_kandinsky5, "prompt_template_encode_start_idx")):
        pipeline = make()
        setattr(pipeline, cut, 1000)
        with pytest.raises(ModelRefusedError, match="fewer tokens of the template"):
            adapt(pipeline)

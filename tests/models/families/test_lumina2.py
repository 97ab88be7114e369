"""What PixArt-alpha, AuraFlow, Lumina 2, CogView4, Hunyuan-DiT and LCM have, and the other families have not."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, FlowMatchEulerDiscreteScheduler, LCMScheduler

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.schedules import FlowSchedule, NoiseSchedule
from imgaudit.diffusion.seeds import draw_noise
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models import load_model
from imgaudit.models.families.aura_flow import AuraFlowDenoiser
from imgaudit.models.families.cogview4 import CogView4Denoiser
from imgaudit.models.families.hunyuan_dit import HunyuanDiTDenoiser
from imgaudit.models.families.latent import LatentDenoiser
from imgaudit.models.families.lcm import ConsistencyDenoiser
from imgaudit.models.families.lumina2 import Lumina2Denoiser
from imgaudit.models.families.pixart import PixArtAlphaDenoiser
from imgaudit.models.families.registry import FAMILIES
from tests.support.measured import assert_measures
from tests.support.tiny_families import SIDE
from tests.support.tiny_more_families import (
    ADDED_MAKERS,
    make_aura_flow,
    make_cogview4,
    make_hunyuan_dit,
    make_lcm,
    make_lumina2,
    make_pixart_alpha,
)

# Raised inside diffusers' DPM-Solver; nothing of ours can avoid it.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

PROMPTS = ["a red fox", "one old clock and a small boat on the grey lake"]


def adapt(pipeline: Any) -> LatentDenoiser:
    adapter = FAMILIES[type(pipeline).__name__].load_adapter()
    return adapter(pipeline, "fingerprint")  # type: ignore[no-any-return]


def predict(denoiser: LatentDenoiser, condition: PromptEmbeds, timestep: int = 300) -> torch.Tensor:
    noisy = draw_noise([2], denoiser.latent_shape).expand(len(condition), -1, -1, -1)
    with torch.no_grad():
        return denoiser.predict(noisy, torch.full((len(condition),), timestep), condition).output


@pytest.mark.parametrize("family", ADDED_MAKERS)
def test_prompts_of_different_lengths_in_one_batch_are_each_as_if_alone(family: str) -> None:
    denoiser = adapt(ADDED_MAKERS[family]())
    alone = [denoiser.condition([prompt]) for prompt in PROMPTS]
    both = denoiser.condition(PROMPTS)
    for number, one in enumerate(alone):
        for name, stream in one.streams.items():
            torch.testing.assert_close(both.streams[name][number : number + 1], stream, atol=1e-5, rtol=1e-5)
    together = predict(denoiser, both)
    for number, one in enumerate(alone):
        torch.testing.assert_close(together[number : number + 1], predict(denoiser, one), atol=1e-5, rtol=1e-5)
    assert float((together[0] - together[1]).abs().max()) > 1e-4
    turned = both.select(torch.tensor([1, 0, 1]))
    torch.testing.assert_close(predict(denoiser, turned), together[[1, 0, 1]], atol=1e-5, rtol=1e-5)
    options = {"guidance_scale": 3.0, "num_inference_steps": 2}
    images = denoiser.sample(both, [4, 5], **options)
    for number, one in enumerate(alone):
        torch.testing.assert_close(
            images[number : number + 1], denoiser.sample(one, [4 + number], **options), atol=1e-4, rtol=0
        )


@pytest.mark.parametrize("family", ADDED_MAKERS)
def test_every_free_row_of_the_start_has_a_gradient_of_its_own(family: str) -> None:
    denoiser = adapt(ADDED_MAKERS[family]())
    start = denoiser.start_condition()
    streams = {name: stream.clone().requires_grad_(True) for name, stream in start.streams.items()}
    noisy = draw_noise([2], denoiser.latent_shape)
    output = denoiser.predict(noisy, torch.tensor([300]), start.with_streams(streams)).output
    for name, gradient in zip(streams, torch.autograd.grad(output.square().sum(), list(streams.values())), strict=True):
        rows = gradient[0, start.free[name]]
        assert bool(torch.isfinite(rows).all()) and bool(rows.any(dim=1).all())
        assert len({tuple(row) for row in rows.tolist()}) >= len(rows) - 2


@pytest.mark.parametrize("family", ADDED_MAKERS)
def test_a_saved_model_is_sampled_and_measured(family: str, tmp_path: Path, make_folder: Callable[..., Path]) -> None:
    pipeline = ADDED_MAKERS[family]()
    pipeline.save_pretrained(tmp_path / "model")
    denoiser: Any = load_model(str(tmp_path / "model"), "cpu").denoiser
    own, options = adapt(pipeline), {"guidance_scale": 3.0, "num_inference_steps": 2}
    condition = denoiser.condition(PROMPTS[:1])
    expected = own.sample(own.condition(PROMPTS[:1]), [3], **options)
    torch.testing.assert_close(denoiser.sample(condition, [3], **options), expected)
    assert_measures(denoiser, make_folder)


def test_schedules_are_those_of_training() -> None:
    for make in (make_aura_flow, make_lumina2, make_cogview4):
        assert adapt(make()).schedule == FlowSchedule(1000) and adapt(make()).prediction_type == "flow"
    for make, kind in ((make_pixart_alpha, "epsilon"), (make_hunyuan_dit, "v_prediction"), (make_lcm, "epsilon")):
        assert isinstance(adapt(make()).schedule, NoiseSchedule) and adapt(make()).prediction_type == kind


@pytest.mark.parametrize("make", [make_pixart_alpha, make_hunyuan_dit])
def test_a_prediction_is_what_the_pipeline_steps_along(make: Callable[[], Any]) -> None:
    denoiser = adapt(make())
    denoiser.pipeline.scheduler = DDIMScheduler.from_config(
        denoiser.pipeline.scheduler.config, clip_sample=False, set_alpha_to_one=True, steps_offset=0
    )
    latents, states = draw_noise([5], denoiser.latent_shape), []
    step = denoiser.pipeline.scheduler.step

    def keep(*given: Any, **named: Any) -> Any:
        states.append((given[2], step(*given, **named | {"return_dict": True}).pred_original_sample))
        return step(*given, **named)

    denoiser.pipeline.scheduler.step = keep
    side = denoiser.resolution
    denoiser.pipeline(
        PROMPTS[0], guidance_scale=1.0, num_inference_steps=3, latents=latents, height=side, width=side,
        use_resolution_binning=False,
    )  # fmt: skip
    timesteps = denoiser.pipeline.scheduler.timesteps
    assert len(states) == 3
    for timestep, (noisy, clean) in zip(timesteps, states, strict=True):
        with torch.no_grad():
            prediction = denoiser.predict(noisy, timestep[None], denoiser.condition(PROMPTS[:1]))
        torch.testing.assert_close(prediction.x0().float(), clean, atol=1e-3, rtol=1e-3)


def test_pixart_alpha_is_told_the_size_of_images_of_1024_pixels_only() -> None:
    pipeline = make_pixart_alpha(128, num_layers=1)
    assert pipeline.transformer.use_additional_conditions
    denoiser, seen = PixArtAlphaDenoiser(pipeline, "fingerprint"), []
    pipeline.transformer.register_forward_pre_hook(
        lambda module, given, named: seen.append(named["added_cond_kwargs"]), with_kwargs=True
    )
    latents = draw_noise([3], (4, 128, 128))
    theirs = pipeline(
        PROMPTS[0], latents=latents, num_inference_steps=2, guidance_scale=1.0, height=256, width=256,
        use_resolution_binning=False, output_type="latent",
    ).images  # fmt: skip
    wide = draw_noise([3], (4, 64, 128))
    with torch.no_grad():
        denoiser.predict(wide, torch.tensor([300]), denoiser.condition(PROMPTS[:1]))
    assert bool(torch.isfinite(theirs).all())
    assert seen[0]["resolution"].tolist() == [[256.0, 256.0]] and seen[0]["aspect_ratio"].tolist() == [[1.0]]
    assert seen[-1]["resolution"].tolist() == [[128.0, 256.0]] and seen[-1]["aspect_ratio"].tolist() == [[0.5]]
    with pytest.raises(ModelRefusedError, match="the pipeline gives only where sample_size is 128, not 8"):
        adapt(make_pixart_alpha(use_additional_conditions=True))


def test_pixart_alpha_needs_two_steps_unless_it_was_made_for_few() -> None:
    denoiser = PixArtAlphaDenoiser(make_pixart_alpha(), "fingerprint")
    assert denoiser.fewest_steps == 2 and denoiser.no_null == ""
    condition, options = denoiser.condition(PROMPTS[:1]), {"guidance_scale": 1.0, "num_inference_steps": 1}
    with pytest.raises(IndexError):
        denoiser.sample(condition, [1], **options)
    pipeline = make_pixart_alpha()
    pipeline.scheduler = LCMScheduler()
    distilled = PixArtAlphaDenoiser(pipeline, "fingerprint")
    assert distilled.fewest_steps == 1 and "samples in a few steps (LCMScheduler)" in distilled.no_null
    assert bool(torch.isfinite(distilled.sample(condition, [1], **options)).all())


def test_padding_of_aura_flow_is_rows_of_zeros_that_are_seen() -> None:
    denoiser = AuraFlowDenoiser(make_aura_flow(), "fingerprint")
    condition, start = denoiser.condition(PROMPTS[:1]), denoiser.start_condition()
    shown = condition.streams["text"][0].any(dim=1)
    assert condition.streams["text"].shape == (1, 256, 32) and 0 < int(shown.sum()) < 12
    assert not condition.extras and bool(condition.free["text"].all())
    changed = condition.streams["text"].clone()
    changed[0, ~shown] += 0.01
    assert (
        float((predict(denoiser, condition.with_streams({"text": changed})) - predict(denoiser, condition)).abs().max())
        > 1e-3
    )
    assert bool(start.streams["text"].any(dim=2).all())
    assert torch.equal(
        denoiser.unmasked_condition(PROMPTS).streams["text"], denoiser.condition(PROMPTS).streams["text"]
    )


def test_aura_flow_makes_images_of_its_pipelines_size_or_of_the_places_it_has() -> None:
    denoiser = AuraFlowDenoiser(make_aura_flow(), "fingerprint")
    assert denoiser.latent_shape == (4, SIDE, SIDE) and denoiser.pipeline.transformer.config.sample_size == SIDE // 2
    denoiser.pipeline.transformer.register_to_config(pos_embed_max_size=10**6)
    # 1024 pixels, of two to a latent.
    assert denoiser.latent_shape == (4, 512, 512)


def test_a_tokenizer_that_makes_nothing_of_no_text_is_refused_for_aura_flow() -> None:
    with pytest.raises(ModelRefusedError, match="makes no token of an empty prompt"):
        adapt(make_aura_flow(add_bos_token=False, add_eos_token=False))


def test_lumina_reads_prompts_after_its_instruction_and_the_empty_one_without() -> None:
    pipeline = make_lumina2()
    denoiser = Lumina2Denoiser(pipeline, "fingerprint")
    text, mask, null, null_mask = pipeline.encode_prompt(PROMPTS, num_images_per_prompt=1)
    condition, empty = denoiser.condition(PROMPTS), denoiser.null_condition()
    torch.testing.assert_close(condition.streams["text"], text)
    assert torch.equal(condition.extras["mask"], mask) and condition.free["text"].tolist() == [False] + [True] * 255
    torch.testing.assert_close(empty.streams["text"].expand_as(null), null)
    assert torch.equal(empty.extras["mask"].expand_as(null_mask), null_mask) and int(null_mask[0].sum()) == 1
    room = denoiser._text_lengths()["text_encoder"][1]
    assert denoiser.cut_tokens("a" * (room - 1)) == {} and denoiser.cut_tokens("a" * room) == {"text_encoder": 1}
    assert int(denoiser.condition(["a" * (room - 1)]).extras["mask"].sum()) == 256


def test_an_instruction_that_leaves_no_room_is_refused_for_lumina() -> None:
    pipeline = make_lumina2()
    pipeline.system_prompt = "a" * 300
    with pytest.raises(ModelRefusedError, match="of the instruction before prompts, but the pipeline reads 256"):
        adapt(pipeline)


def test_rows_of_lumina_that_the_mask_hides_are_not_seen() -> None:
    denoiser = Lumina2Denoiser(make_lumina2(), "fingerprint")
    condition = denoiser.condition(PROMPTS[:1])
    changed = condition.streams["text"] + (1 - condition.extras["mask"])[:, :, None]
    torch.testing.assert_close(
        predict(denoiser, condition.with_streams({"text": changed})), predict(denoiser, condition)
    )


SHIFTS: dict[str, dict[str, Any]] = {
    "linear": {"base_shift": 999.0, "max_shift": 0.0, "time_shift_type": "linear"},
    "exponential": {"base_shift": math.log(999), "max_shift": 0.0, "time_shift_type": "exponential"},
    "static": {"use_dynamic_shifting": False, "shift": 999.0},
}


@pytest.mark.parametrize("kind", SHIFTS)
def test_cogview4_is_told_the_time_before_its_noise_was_shifted(kind: str) -> None:
    denoiser = CogView4Denoiser(make_cogview4(**SHIFTS[kind]), "fingerprint")
    latents, states = draw_noise([5], denoiser.latent_shape), []
    told: list[float] = []
    denoiser.pipeline.transformer.register_forward_pre_hook(
        lambda module, given, named: told.extend(named["timestep"].tolist()), with_kwargs=True
    )
    after = denoiser.pipeline(
        PROMPTS[0], guidance_scale=1.0, num_inference_steps=2, output_type="latent", latents=latents,
        callback_on_step_end=lambda pipeline, step, sigma, tensors: states.append(tensors["latents"]) or {},
    ).images  # fmt: skip
    # With this shift the time of 1 belongs to the noise of one half.
    assert told == [1000.0, 1.0] and float(denoiser.pipeline.scheduler.sigmas[1]) == pytest.approx(0.5)
    with torch.no_grad():
        flow = denoiser.predict(states[0], torch.tensor([499]), denoiser.condition(PROMPTS[:1])).output
    assert told[2] == pytest.approx(1.0, rel=1e-4)
    torch.testing.assert_close(states[0] - 0.5 * flow, after, atol=1e-4, rtol=1e-4)


def test_the_shift_of_cogview4_depends_on_the_size_of_the_image() -> None:
    denoiser = CogView4Denoiser(make_cogview4(), "fingerprint")
    # 256 tokens, and sixteen times as many.
    assert denoiser._shift(32, 32) == pytest.approx(1.0) and denoiser._shift(128, 128) == pytest.approx(3.25)


def test_cogview4_reads_texts_in_sixteens_filled_up_on_the_left() -> None:
    denoiser = CogView4Denoiser(make_cogview4(), "fingerprint")
    both, null, start = denoiser.condition(PROMPTS), denoiser.null_condition(), denoiser.start_condition()
    assert both.streams["text"].shape == (2, 512, 32) and both.extras["mask"].sum(dim=1).tolist() == [16, 64]
    assert null.free["text"].tolist() == [True] * 16 + [False] * 496
    for number, prompt in enumerate(PROMPTS):
        own, _ = denoiser.pipeline.encode_prompt([prompt], do_classifier_free_guidance=False)
        torch.testing.assert_close(both.streams["text"][number, : own.shape[1]], own[0])
    # What fills up the empty prompt is the same in every place, until it is set apart.
    rows = null.streams["text"][0]
    torch.testing.assert_close(rows[1], rows[2])
    assert len({tuple(row) for row in start.streams["text"][0, :16].tolist()}) == 16
    seen = denoiser.unmasked_condition(PROMPTS)
    assert seen.extras["mask"].sum(dim=1).tolist() == [16, 16]
    torch.testing.assert_close(seen.streams["text"][1, :16], both.streams["text"][1, 48:64])


def test_hunyuan_dit_reads_learned_rows_in_place_of_padding() -> None:
    pipeline = make_hunyuan_dit()
    denoiser = HunyuanDiTDenoiser(pipeline, "fingerprint")
    condition = denoiser.condition(PROMPTS)
    assert {name: stream.shape for name, stream in condition.streams.items()} == {
        "text": (2, 77, 32),
        "t5": (2, 256, 32),
    }
    assert condition.free["text"].tolist() == [False] + [True] * 76 and bool(condition.free["t5"].all())
    hidden = condition.streams["text"] + (1 - condition.extras["mask"])[:, :, None]
    changed = condition.with_streams({**condition.streams, "text": hidden})
    torch.testing.assert_close(predict(denoiser, changed), predict(denoiser, condition))
    # One vector is made of all of T5's rows.
    hidden = condition.streams["t5"] + (1 - condition.extras["mask_2"])[:, :, None]
    changed = condition.with_streams({**condition.streams, "t5": hidden})
    assert float((predict(denoiser, changed) - predict(denoiser, condition)).abs().max()) > 1e-4
    start, seen = denoiser.start_condition(), denoiser.unmasked_condition(PROMPTS)
    assert all(bool(mask.all()) for one in (start, seen) for mask in one.extras.values())
    assert denoiser.cut_tokens("fox " * 100) == {"text_encoder": 302 - 77}


@pytest.mark.parametrize("told", [True, False])
def test_hunyuan_dit_is_sampled_with_the_noise_that_seeds_decide(told: bool) -> None:
    pipeline = make_hunyuan_dit(use_style_cond_and_image_meta_size=told)
    pipeline.scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
    denoiser = HunyuanDiTDenoiser(pipeline, "fingerprint")
    options = {"guidance_scale": 5.0, "num_inference_steps": 4}
    ours = denoiser.sample(denoiser.condition(PROMPTS), [3, 11], **options)
    side = denoiser.resolution
    theirs = pipeline(
        PROMPTS, generator=[torch.Generator().manual_seed(seed) for seed in (3, 11)], output_type="pt", height=side,
        width=side, use_resolution_binning=False, **options,
    ).images  # fmt: skip
    torch.testing.assert_close(ours, theirs * 2 - 1, atol=1e-4, rtol=0)


def test_an_lcm_is_sampled_as_its_pipeline_and_has_no_null_branch() -> None:
    pipeline = make_lcm()
    denoiser = ConsistencyDenoiser(pipeline, "fingerprint")
    assert "guidance-distilled" in denoiser.no_null and not denoiser.is_guided_by_null
    for scale in (1.0, 8.0):
        ours = denoiser.sample(denoiser.condition(PROMPTS), [3, 11], guidance_scale=scale, num_inference_steps=3)
        generators = [torch.Generator().manual_seed(seed) for seed in (3, 11)]
        theirs = pipeline(PROMPTS, generator=generators, guidance_scale=scale, num_inference_steps=3, output_type="pt")
        torch.testing.assert_close(ours, theirs.images * 2 - 1, atol=1e-4, rtol=0)
    one, eight = (
        denoiser.sample(denoiser.condition(PROMPTS), [3, 11], guidance_scale=s, num_inference_steps=1) for s in (1, 8)
    )
    assert float((one - eight).abs().max()) > 1e-3
    assert denoiser.network_evaluations == 2 * (3 + 3 + 1 + 1) + 2 * 6
    with pytest.raises(ModelRefusedError, match="time_cond_proj_dim is missing"):
        adapt(make_lcm(None))


@pytest.mark.parametrize("make", [make_aura_flow, make_lumina2, make_cogview4, make_hunyuan_dit, make_pixart_alpha])
def test_other_schedulers_weights_sizes_and_factors_are_refused(make: Callable[[], Any]) -> None:
    pipeline = make()
    is_flow = isinstance(pipeline.scheduler, FlowMatchEulerDiscreteScheduler)
    pipeline.scheduler = DDIMScheduler() if is_flow else FlowMatchEulerDiscreteScheduler()
    with pytest.raises(ModelRefusedError, match=f"the scheduler is {type(pipeline.scheduler).__name__}"):
        adapt(pipeline)
    pipeline = make()
    with torch.no_grad():
        next(pipeline.transformer.parameters()).fill_(float("nan"))
    with pytest.raises(ModelRefusedError, match="'transformer' has weights that are not finite"):
        adapt(pipeline)
    sizes = {"in_channels": (9, "only plain text-to-image")}
    if make is make_aura_flow:
        sizes["pos_embed_max_size"] = (-4, "sample_size is 0; expected the side")
    else:
        sizes |= {"patch_size": (3, "a multiple of"), "sample_size": (-4, "sample_size is -4; expected the side")}
    for key, (value, reason) in sizes.items():
        pipeline = make()
        pipeline.transformer.register_to_config(**{key: value})
        with pytest.raises(ModelRefusedError, match=reason):
            adapt(pipeline)
    for factor in (0, float("nan"), "large"):
        pipeline = make()
        pipeline.vae.register_to_config(scaling_factor=factor)
        with pytest.raises(ModelRefusedError, match="expected finite numbers"):
            adapt(pipeline)


def test_autoencoders_that_shift_are_refused_where_the_pipeline_does_not() -> None:
    for make in (make_aura_flow, make_cogview4, make_hunyuan_dit):
        pipeline = make()
        pipeline.vae.register_to_config(shift_factor=0.1)
        with pytest.raises(ModelRefusedError, match=r"shift_factor is 0\.1, which the pipeline does not apply"):
            adapt(pipeline)


def test_hunyuan_dit_of_other_patches_or_without_variance_is_refused() -> None:
    for key, value in (("patch_size", 1), ("learn_sigma", False)):
        pipeline = make_hunyuan_dit()
        pipeline.transformer.register_to_config(**{key: value})
        with pytest.raises(ModelRefusedError, match="the pipeline is made for 2, true and 8"):
            adapt(pipeline)

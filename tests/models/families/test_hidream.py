"""HiDream: what it has and other transformers have not, and what is refused of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler
from diffusers.models.transformers.transformer_hidream_image import MOEFeedForwardSwiGLU

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.seeds import draw_noise
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models import load_model
from imgaudit.models.families.hidream import HiDreamDenoiser
from tests.support.measured import assert_measures
from tests.support.tiny_families import SIDE
from tests.support.tiny_hidream import POSITIONS, make_hidream

PROMPTS = ["a red fox", "one old clock and a boat"]


@pytest.fixture(scope="module")
def denoiser() -> HiDreamDenoiser:
    return HiDreamDenoiser(make_hidream(), "fingerprint")


def test_a_saved_model_is_sampled_and_measured_as_its_pipeline(
    tmp_path: Path, make_folder: Callable[..., Path]
) -> None:
    pipeline = make_hidream()
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    pipeline.save_pretrained(tmp_path / "model")
    loaded: Any = load_model(str(tmp_path / "model"), "cpu").denoiser
    # Pipelines around latents of one size do not save it.
    loaded.pipeline.default_sample_size = SIDE
    latents, side = draw_noise([3, 11], loaded.latent_shape), loaded.resolution
    theirs = pipeline(
        prompt=list(PROMPTS), num_inference_steps=4, height=side, width=side, latents=latents, output_type="pt",
        guidance_scale=5.0,
    ).images  # fmt: skip
    ours = loaded.sample(loaded.condition(PROMPTS), [3, 11], guidance_scale=5.0, num_inference_steps=4)
    torch.testing.assert_close(ours, theirs * 2 - 1, atol=1e-4, rtol=0)
    assert_measures(loaded, make_folder)


def test_streams_are_t5_and_all_layers_of_llama_and_both_vectors(denoiser: HiDreamDenoiser) -> None:
    condition = denoiser.condition(PROMPTS)
    t5, _, llama, _, pooled, _ = denoiser.pipeline.encode_prompt(PROMPTS, do_classifier_free_guidance=False)
    assert llama.shape == (2, 2, POSITIONS, 16) and {
        name: stream.shape[1:] for name, stream in condition.streams.items()
    } == {"t5": (POSITIONS, 32), "llama": (POSITIONS, 32), "pooled": (1, 64)}
    arguments = denoiser._prompt_arguments(condition)
    for name, expected in (
        ("prompt_embeds_t5", t5), ("prompt_embeds_llama3", llama), ("pooled_prompt_embeds", pooled),
    ):  # fmt: skip
        torch.testing.assert_close(arguments[name], expected)
    assert all(bool(free.all()) for free in condition.free.values())


def test_a_condition_is_the_same_alone_and_beside_a_longer_one(denoiser: HiDreamDenoiser) -> None:
    noisy, timesteps = draw_noise([2], denoiser.latent_shape), torch.tensor([300])
    with torch.no_grad():
        alone = denoiser.predict(noisy, timesteps, denoiser.condition(PROMPTS[:1])).output
        both = denoiser.predict(noisy.repeat(2, 1, 1, 1), timesteps.repeat(2), denoiser.condition(PROMPTS)).output
    torch.testing.assert_close(both[:1], alone, atol=1e-5, rtol=1e-5)
    assert float((both[1] - both[0]).abs().max()) > 1e-3


def test_every_row_of_the_start_moves_by_itself(denoiser: HiDreamDenoiser) -> None:
    start = denoiser.start_condition()
    leaves = {name: stream.clone().requires_grad_(True) for name, stream in start.streams.items()}
    output = denoiser.predict(
        draw_noise([2], denoiser.latent_shape), torch.tensor([300]), start.with_streams(leaves)
    ).output
    output.square().sum().backward()
    for leaf in leaves.values():
        assert leaf.grad is not None and bool(torch.isfinite(leaf.grad).all())
        assert len({tuple(row.tolist()) for row in leaf.grad[0]}) == leaf.shape[1]


def test_the_start_says_nearly_as_little_as_the_empty_prompt(denoiser: HiDreamDenoiser) -> None:
    null, start, text = denoiser.null_condition(), denoiser.start_condition(), denoiser.condition(PROMPTS[:1])

    def answer(condition: PromptEmbeds) -> torch.Tensor:
        with torch.no_grad():
            return denoiser.predict(draw_noise([2], denoiser.latent_shape), torch.tensor([300]), condition).output

    assert float((answer(start) - answer(null)).norm()) < float((answer(text) - answer(null)).norm())
    # Padding is encoded to rows that are all alike, and would move as one.
    for name in ("t5", "llama"):
        assert torch.equal(start.streams[name][:, 0], null.streams[name][:, 0])
        torch.testing.assert_close(null.streams[name][0, -1], null.streams[name][0, -2], atol=1e-4, rtol=1e-4)
        assert len({tuple(row.tolist()) for row in start.streams[name][0]}) == POSITIONS


def test_experts_answer_alike_with_gradients_and_without(denoiser: HiDreamDenoiser) -> None:
    # Where this changes, the adapter need not set their mode any more.
    experts = [part for part in denoiser.network.modules() if isinstance(part, MOEFeedForwardSwiGLU)]
    state = torch.randn(1, 5, 16, requires_grad=True)
    for part in experts:
        slopes = []
        for part.training in (False, True):
            routed = part(state) - part.shared_experts(state)
            slopes.append(float(torch.autograd.grad(routed.square().sum(), state)[0].norm()))
        part.training = False
        torch.testing.assert_close(part(state) - part.shared_experts(state), routed, atol=1e-5, rtol=1e-4)
        assert slopes[0] < 1e-5 * slopes[1]
    noisy, timesteps, condition = draw_noise([2], denoiser.latent_shape), torch.tensor([300]), denoiser.condition(["a"])
    with_gradients = denoiser.predict(noisy, timesteps, condition).output
    assert all(part.training for part in experts) and len(experts) == 3
    with torch.no_grad():
        without = denoiser.predict(noisy, timesteps, condition).output
    assert not any(part.training for part in experts)
    torch.testing.assert_close(with_gradients, without, atol=1e-5, rtol=1e-4)


def test_a_switch_for_experts_without_gradients_is_set_back() -> None:
    denoiser = HiDreamDenoiser(make_hidream(force_inference_output=True), "fingerprint")
    condition = denoiser.condition(["a"])
    llama = condition.streams["llama"].clone().requires_grad_(True)
    streams = condition.with_streams({**condition.streams, "llama": llama})
    output = denoiser.predict(draw_noise([2], denoiser.latent_shape), torch.tensor([300]), streams).output
    assert output.shape == (1, *denoiser.latent_shape) and all(part.training for part in denoiser._experts)


def test_tokens_are_placed_where_their_tokenizer_puts_them(denoiser: HiDreamDenoiser) -> None:
    spans = denoiser.token_spans("a red fox")
    assert spans.keys() == {"t5", "llama"} and [row for *_, row in spans["llama"]] == list(range(1, 10))
    denoiser.pipeline.tokenizer_4.padding_side = "left"
    assert denoiser.token_spans("a red fox").keys() == {"t5"}
    denoiser.pipeline.tokenizer_4.padding_side = "right"


SCHEDULERS: dict[str, tuple[Any, str]] = {
    "noise": (DDIMScheduler(), "the scheduler is DDIMScheduler; this model predicts flows"),
    "other sigmas": (UniPCMultistepScheduler(), "sets 'use_flow_sigmas' to False; .* which UniPC samples with True"),
    "karras": (
        UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, use_karras_sigmas=True),
        "sets 'use_karras_sigmas' to True",
    ),
    "dynamic": (
        UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, use_dynamic_shifting=True),
        "does not say how much",
    ),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers_of_another_path_are_refused(name: str) -> None:
    scheduler, reason = SCHEDULERS[name]
    with pytest.raises(ModelRefusedError, match=reason):
        HiDreamDenoiser(make_hidream(scheduler=scheduler), "fingerprint")


def test_steps_of_euler_are_taken_as_well() -> None:
    pipeline = make_hidream(scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True))
    denoiser, latents = HiDreamDenoiser(pipeline, "fingerprint"), draw_noise([3], (4, SIDE, SIDE))
    options: dict[str, Any] = {"guidance_scale": 5.0, "num_inference_steps": 3}
    theirs = pipeline(PROMPTS[0], latents=latents, output_type="pt", **options).images
    ours = denoiser.sample(denoiser.condition(PROMPTS[:1]), [3], **options)
    torch.testing.assert_close(ours, theirs * 2 - 1, atol=1e-4, rtol=0)


def test_weights_sizes_and_factors_are_checked() -> None:
    for name in ("transformer", "vae", "text_encoder", "text_encoder_4"):
        pipeline = make_hidream()
        with torch.no_grad():
            next(getattr(pipeline, name).parameters()).fill_(float("nan"))
        with pytest.raises(ModelRefusedError, match=f"'{name}' has weights that are not finite"):
            HiDreamDenoiser(pipeline, "fingerprint")
    for part, key, value, reason in (
        ("transformer", "in_channels", 9, "the transformer takes 9 channels but latents have 4"),
        ("vae", "scaling_factor", float("nan"), "the autoencoder's scaling_factor is"),
        ("vae", "shift_factor", None, "names no shift_factor"),
    ):
        pipeline = make_hidream()
        getattr(pipeline, part).register_to_config(**{key: value})
        with pytest.raises(ModelRefusedError, match=reason):
            HiDreamDenoiser(pipeline, "fingerprint")
    pipeline = make_hidream()
    pipeline.default_sample_size = 10**6
    with pytest.raises(ModelRefusedError, match="sample_size is 1000000"):
        HiDreamDenoiser(pipeline, "fingerprint")

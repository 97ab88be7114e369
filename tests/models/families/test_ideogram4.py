"""Ideogram 4: two networks, one for texts and one for none, and a call that takes prompts alone."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from imgaudit.benchmark.speed.network_calls import NetworkCalls
from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.denoising_error import measure_paired_errors
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.seeds import draw_noise
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models import load_model
from imgaudit.models.families.ideogram4 import Ideogram4Denoiser
from imgaudit.models.families.registry import FAMILIES
from imgaudit.schema.protocol import ErrorConfig
from tests.support.tiny_families import SIDE
from tests.support.tiny_newer_families import make_ideogram4

PROMPTS = ["a red fox", "one old clock and a boat"]


@pytest.fixture(scope="module")
def denoiser() -> Ideogram4Denoiser:
    return Ideogram4Denoiser(make_ideogram4(), "fingerprint")


def call(denoiser: Ideogram4Denoiser, latents: torch.Tensor, scale: float, **options: Any) -> Any:
    height, width = (2 * SIDE * side // denoiser.latent_shape[1] for side in latents.shape[2:])
    return denoiser.pipeline(
        prompt=list(PROMPTS[: len(latents)]), latents=denoiser._packed(latents), guidance_scale=scale,
        guidance_schedule=None, height=height, width=width, **{"output_type": "pt", "num_inference_steps": 3} | options,
    ).images  # fmt: skip


def test_all_that_the_pipeline_reads_of_a_prompt_by_default_makes_the_same_images(denoiser: Ideogram4Denoiser) -> None:
    # Its 2,048 tokens are mostly padding, which here is left out.
    latents = draw_noise([3], denoiser.latent_shape)
    ours = denoiser.sample(
        denoiser.condition(PROMPTS[:1]), [3], guidance_scale=4.0, num_inference_steps=3, latents=latents
    )
    torch.testing.assert_close(ours, call(denoiser, latents, 4.0) * 2 - 1, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("scale", "prompted"), [(1.0, True), (0.0, False)])
def test_each_network_is_what_the_scheduler_steps_along(
    denoiser: Ideogram4Denoiser, scale: float, prompted: bool
) -> None:
    channels, side, _ = denoiser.latent_shape
    latents = draw_noise([5], (channels, side, 2 * side))
    states, times = [latents], []

    def keep(pipeline: Any, step: int, timestep: torch.Tensor, tensors: dict[str, Any]) -> dict[str, Any]:
        states.append(denoiser._unpacked(tensors["latents"], side, 2 * side))
        times.append(timestep)
        return {}

    call(denoiser, latents, scale, output_type="latent", max_sequence_length=64, callback_on_step_end=keep)
    condition = denoiser.condition(PROMPTS[:1]) if prompted else denoiser.null_condition()
    sigmas = denoiser.pipeline.scheduler.sigmas
    for number, timestep in enumerate(times):
        with torch.no_grad():
            flow = denoiser.predict(states[number], timestep[None] - 1, condition).output
        stepped = states[number] + (sigmas[number + 1] - sigmas[number]) * flow
        torch.testing.assert_close(stepped, states[number + 1], atol=1e-5, rtol=1e-5)


def test_the_null_has_no_row_and_is_predicted_by_its_own_network(denoiser: Ideogram4Denoiser) -> None:
    null, text = denoiser.null_condition(), denoiser.condition(PROMPTS)
    assert not bool(null.extras["mask"].any()) and not bool(null.streams["text"].any())
    assert denoiser.start_condition().extras["mask"].sum() == denoiser.start_condition().free["text"].sum() > 0
    assert denoiser.no_null == "" and list(denoiser.networks) == ["transformer", "unconditional_transformer"]
    noisy, times = draw_noise([1, 2], denoiser.latent_shape), torch.tensor([300, 700])
    calls = NetworkCalls(denoiser)
    passes = []
    with torch.no_grad(), calls.recording(lambda call: call.network, lambda call: passes.append(call.network)):
        alone = denoiser.predict(noisy, times, null.repeat(2)).output
        assert passes == ["null denoiser"]
        mixed = PromptEmbeds.concatenate([null, text, null])
        rows = torch.tensor([0, 0, 1, 1])
        output = denoiser.predict(noisy[rows], times[rows], mixed).output
    # Prompts of two lengths are passed on apart.
    assert sorted(passes[1:]) == ["denoiser", "denoiser", "null denoiser"]
    torch.testing.assert_close(output[[0, 3]], alone)


def test_a_score_compares_both_networks_and_counts_both(denoiser: Ideogram4Denoiser) -> None:
    latents = draw_noise([4], denoiser.latent_shape)
    before = denoiser.network_evaluations
    paired = measure_paired_errors(
        denoiser, latents, ["aa"], denoiser.start_condition(), ErrorConfig(draws=4), run_seed=1, executor=Executor(8)
    )
    assert denoiser.network_evaluations == before + 8 and paired.baseline == "null"
    other = Ideogram4Denoiser(make_ideogram4(), "fingerprint")
    with torch.no_grad():
        other.pipeline.unconditional_transformer.final_layer.linear.bias.add_(1.0)
    changed = measure_paired_errors(
        other, latents, ["aa"], other.start_condition(), ErrorConfig(draws=4), run_seed=1, executor=Executor(8)
    )
    torch.testing.assert_close(changed.conditional, paired.conditional)
    assert not torch.allclose(changed.null, paired.null)


def test_both_networks_are_called_at_every_scale(denoiser: Ideogram4Denoiser) -> None:
    condition = denoiser.condition(PROMPTS)
    for scale in (1.0, 4.0):
        before = denoiser.network_evaluations
        denoiser.sample(condition, [1, 2], guidance_scale=scale, num_inference_steps=2)
        assert denoiser.network_evaluations == before + 2 * 2 * 2


def test_the_pipeline_still_encodes_prompts_of_its_own(denoiser: Ideogram4Denoiser) -> None:
    text, _, _, roles = denoiser.pipeline.encode_prompt(
        prompt=PROMPTS[:1], grid_h=2, grid_w=3, max_sequence_length=50, device=torch.device("cpu")
    )
    own = denoiser.condition(PROMPTS[:1])
    length = int(own.extras["mask"].sum())
    assert text.shape == (1, 56, 208) and roles[0].tolist() == [0] * (50 - length) + [3] * length + [2] * 6
    torch.testing.assert_close(text[0, 50 - length : 50], own.streams["text"][0, :length])


def test_networks_and_text_encoders_that_do_not_fit_are_refused() -> None:
    for key, value, told in (
        ("in_channels", 32, "the unconditional_transformer's in_channels is 32; expected 16"),
        ("llm_features_dim", 16, "the unconditional_transformer's llm_features_dim is 16; expected 208"),
    ):
        pipeline = make_ideogram4()
        pipeline.unconditional_transformer.register_to_config(**{key: value})
        with pytest.raises(ModelRefusedError, match=told):
            Ideogram4Denoiser(pipeline, "fingerprint")
    for setting, value in (("num_hidden_layers", 35), ("hidden_size", 8)):
        pipeline = make_ideogram4()
        setattr(pipeline.text_encoder.config.text_config, setting, value)
        with pytest.raises(ModelRefusedError, match="expected 36 or more, and 208 numbers, the transformer's llm_f"):
            Ideogram4Denoiser(pipeline, "fingerprint")
    pipeline = make_ideogram4()
    with torch.no_grad():
        next(pipeline.unconditional_transformer.parameters()).fill_(float("nan"))
    with pytest.raises(ModelRefusedError, match="'unconditional_transformer' has weights that are not finite"):
        Ideogram4Denoiser(pipeline, "fingerprint")


def test_layers_that_wait_one_by_one_are_refused(
    copied_family: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imgaudit.models.loading.refuse_offload", lambda offload, device: None)
    with pytest.raises(ModelRefusedError, match="--offload sequential cannot be used with models of Ideogram 4"):
        load_model(str(copied_family("Ideogram4Pipeline").path), "cpu", offload="sequential")


def test_both_networks_are_part_of_the_fingerprint_and_the_prompt_enhancer_is_not_loaded(
    copied_family: Callable[[str], Any],
) -> None:
    model = copied_family("Ideogram4Pipeline")
    files = load_model(str(model.path), "cpu").files
    assert {"transformer/config.json", "unconditional_transformer/diffusion_pytorch_model.safetensors"} <= files.keys()
    assert "prompt_enhancer_head" in FAMILIES["Ideogram4Pipeline"].never_loaded
    model.change("model_index.json", {"prompt_enhancer_head": ["diffusers", "Ideogram4PromptEnhancerHead"]})
    loaded = load_model(str(model.path), "cpu")
    assert loaded.denoiser.pipeline.prompt_enhancer_head is None  # type: ignore[attr-defined]

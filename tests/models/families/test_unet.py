import pytest
import torch
from diffusers import LCMScheduler

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.seeds import draw_noise
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.families.unet import UNetDenoiser
from tests.conftest import make_other_pipeline, make_pipeline, tiny_recipe


@pytest.fixture(params=["epsilon", "v_prediction", "other"])
def denoiser(request: pytest.FixtureRequest) -> UNetDenoiser:
    if request.param == "other":
        return UNetDenoiser(make_other_pipeline(), "fingerprint")
    return UNetDenoiser(make_pipeline(tiny_recipe(prediction_type=request.param)), "fingerprint")


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_samples_are_the_pipelines_own_images(denoiser: UNetDenoiser, guidance_scale: float) -> None:
    seeds = [3, 11]
    ours = denoiser.sample(
        denoiser.condition(["a red fox", "one old clock"]), seeds, guidance_scale=guidance_scale, num_inference_steps=4
    )
    theirs = denoiser.pipeline(
        ["a red fox", "one old clock"], guidance_scale=guidance_scale, num_inference_steps=4, output_type="pt",
        latents=draw_noise(seeds, denoiser.latent_shape),
    ).images  # fmt: skip
    torch.testing.assert_close(ours, theirs * 2 - 1, atol=1e-5, rtol=1e-5)


def test_given_latents_replace_the_seeds(denoiser: UNetDenoiser) -> None:
    condition = denoiser.condition(["a red fox"])
    options = {"guidance_scale": 2.0, "num_inference_steps": 3}
    by_seed = denoiser.sample(condition, [7], **options)  # type: ignore[arg-type]
    given = denoiser.sample(condition, [0], latents=draw_noise([7], denoiser.latent_shape), **options)  # type: ignore[arg-type]
    torch.testing.assert_close(by_seed, given)


def test_gradients_in_the_embedding_match_finite_differences() -> None:
    pipeline = make_pipeline(tiny_recipe())
    denoiser = UNetDenoiser(pipeline, "fingerprint")
    pipeline.unet.double()
    generator = torch.Generator().manual_seed(0)
    null = denoiser.null_condition()
    text = null.streams["text"].double()
    noisy = torch.randn((1, *denoiser.latent_shape), generator=generator, dtype=torch.float64)
    direction = torch.randn(text.shape, generator=generator, dtype=torch.float64)
    timesteps = torch.tensor([400])

    def loss(stream: torch.Tensor) -> torch.Tensor:
        condition = PromptEmbeds({"text": stream}, null.free)
        return denoiser.predict(noisy, timesteps, condition).output.square().sum()

    leaf = text.clone().requires_grad_(True)
    loss(leaf).backward()
    assert leaf.grad is not None
    analytic = float((leaf.grad * direction).sum())
    step = 1e-5
    with torch.no_grad():
        numeric = float(loss(text + step * direction) - loss(text - step * direction)) / (2 * step)
    assert analytic != 0
    assert analytic == pytest.approx(numeric, rel=1e-5)


def test_weights_are_frozen_and_evaluations_counted(denoiser: UNetDenoiser) -> None:
    for name in ("unet", "vae", "text_encoder"):
        assert not any(weight.requires_grad for weight in getattr(denoiser.pipeline, name).parameters())
        assert not getattr(denoiser.pipeline, name).training
    null = denoiser.null_condition()
    noisy = draw_noise([1, 2, 3], denoiser.latent_shape)
    with torch.no_grad():
        denoiser.predict(noisy, torch.tensor([1, 2, 3]), null.repeat(3))
    assert denoiser.network_evaluations == 3
    free = null.repeat(3)
    free = free.with_streams({"text": free.streams["text"].clone().requires_grad_(True)})
    denoiser.predict(noisy, torch.tensor([1, 2, 3]), free)
    assert denoiser.network_evaluations == 3 + 6
    denoiser.sample(null, [1], guidance_scale=2.0, num_inference_steps=5)
    assert denoiser.network_evaluations == 3 + 6 + 10
    denoiser.sample(null, [1], guidance_scale=1.0, num_inference_steps=5)
    assert denoiser.network_evaluations == 3 + 6 + 10 + 5


def test_encoding_scales_and_shifts_as_diffusers_does(denoiser: UNetDenoiser) -> None:
    images = torch.rand(2, 3, denoiser.resolution, denoiser.resolution) * 2 - 1
    vae = denoiser.pipeline.vae
    latents = denoiser.encode(images)
    assert latents.shape == (2, *denoiser.latent_shape)
    mode = vae.encode(images).latent_dist.mode()
    shift = vae.config.get("shift_factor") or 0.0
    torch.testing.assert_close(latents, ((mode - shift) * vae.config.scaling_factor).detach())
    torch.testing.assert_close(denoiser.decode(latents), vae.decode(mode).sample.detach().clamp(-1, 1))


def test_bos_is_not_free_and_cut_tokens_are_counted(denoiser: UNetDenoiser) -> None:
    free = denoiser.null_condition().free["text"]
    assert not bool(free[0]) and bool(free[1:].all())
    assert denoiser.cut_tokens("a red fox") == {}
    length = denoiser.pipeline.tokenizer.model_max_length
    assert denoiser.cut_tokens("fox " * (length + 3))["text_encoder"] > 0


def test_what_is_read_of_a_long_caption_conditions_as_the_whole_does(denoiser: UNetDenoiser) -> None:
    assert denoiser.characters_read("a red fox") == {}
    caption = "fox " * 60
    read = denoiser.characters_read(caption)["text_encoder"]
    assert 0 < read < len(caption) and denoiser.cut_tokens(caption[:read]) == {}
    whole, part = denoiser.condition([caption]), denoiser.condition([caption[:read]])
    assert torch.equal(whole.streams["text"], part.streams["text"])
    assert not torch.equal(whole.streams["text"], denoiser.condition([caption[: read - 4]]).streams["text"])


def test_weights_that_are_not_finite_are_refused() -> None:
    pipeline = make_pipeline(tiny_recipe())
    with torch.no_grad():
        next(pipeline.unet.parameters()).fill_(float("nan"))
    with pytest.raises(ModelRefusedError, match="not finite"):
        UNetDenoiser(pipeline, "fingerprint")


def test_a_distilled_model_says_that_it_has_no_null_branch(
    denoiser: UNetDenoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert denoiser.no_null == ""
    monkeypatch.setattr(denoiser.pipeline, "scheduler", LCMScheduler())
    assert "LCMScheduler" in denoiser.no_null

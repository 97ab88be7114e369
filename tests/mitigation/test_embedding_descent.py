"""Embedding descent against a plain loop, batched and one by one."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.seeds import draw_noise
from imgaudit.exceptions import ConfigError
from imgaudit.mitigation.embedding_descent import EmbeddingDescent
from imgaudit.mitigation.registry import MITIGATIONS, mitigate
from imgaudit.models import FiniteSetDenoiser, load_model
from imgaudit.models.families.unet import UNetDenoiser
from tests.conftest import make_pipeline, tiny_recipe


def _memoriser(points: int = 4) -> FiniteSetDenoiser:
    generator = torch.Generator().manual_seed(0)
    return FiniteSetDenoiser(torch.rand(points, 3, 8, 8, generator=generator) * 2 - 1)


@pytest.fixture(scope="module")
def tiny() -> UNetDenoiser:
    return UNetDenoiser(make_pipeline(tiny_recipe()), "tiny")


def test_the_descent_is_adamw_on_one_sample_at_a_time(tiny: UNetDenoiser) -> None:
    descent = EmbeddingDescent(tiny, rms=1e-6, iterations=3, learning_rate=0.02)
    condition = tiny.condition(["a red fox", "one old clock"])
    noise = draw_noise([3, 4], tiny.latent_shape)
    found = descent.descend(condition, noise).streams["text"]
    scale = tiny.start_condition().root_mean_square()["text"]
    timestep = torch.tensor([999])
    for row in range(2):
        one = condition.select(slice(row, row + 1))
        base = tiny.predict(noise[row : row + 1], timestep, tiny.null_condition()).output
        own = condition.streams["text"][row : row + 1].clone()
        first, second = torch.zeros_like(own), torch.zeros_like(own)
        for step in range(1, 4):
            leaf = own.clone().requires_grad_(True)
            output = tiny.predict(noise[row : row + 1], timestep, one.with_streams({"text": leaf})).output
            loss = ((output - base) ** 2).sum().sqrt() / math.sqrt(output.numel())
            [slope] = torch.autograd.grad(loss, leaf)
            rate = 0.02 * scale
            own = own * (1 - rate * 0.01)
            first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
            change = first / (1 - 0.9**step) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
            own = own - rate * change
            own[:, 0] = condition.streams["text"][row, 0]
        torch.testing.assert_close(found[row : row + 1], own, rtol=1e-4, atol=1e-5)
    alone = descent.descend(condition.select(slice(1, 2)), noise[1:])
    torch.testing.assert_close(found[1:], alone.streams["text"], rtol=1e-5, atol=1e-5)


def test_samples_that_are_harmless_already_are_sampled_as_they_are(tiny: UNetDenoiser) -> None:
    condition = tiny.condition(["a red fox", ""])
    descent = EmbeddingDescent(tiny, rms=1e9)
    before = tiny.network_evaluations
    settings: dict[str, Any] = {"guidance_scale": 2.0, "num_inference_steps": 3}
    images = descent.sample(condition, [1, 2], **settings)
    spent = tiny.network_evaluations - before
    torch.testing.assert_close(images, tiny.sample(condition, [1, 2], **settings))
    assert spent == 2 + 2 * 2 + 2 * 2 * 3, "null and one look with gradients, then guided sampling"
    assert descent.network_evaluations == tiny.network_evaluations
    found = EmbeddingDescent(tiny, rms=1e-12, iterations=2).descend(condition, draw_noise([1, 2], tiny.latent_shape))
    torch.testing.assert_close(found.streams["text"][1], condition.streams["text"][1]), "the empty prompt moves nothing"
    assert not torch.allclose(found.streams["text"][0], condition.streams["text"][0])


def test_descent_keeps_a_memoriser_from_its_point() -> None:
    model = _memoriser()
    descent = EmbeddingDescent(model, rms=0.005, iterations=200, learning_rate=1.0)
    condition = model.condition(["1"]).repeat(4)
    settings: dict[str, Any] = {"guidance_scale": 1.0, "num_inference_steps": 20}

    def copies(images: torch.Tensor) -> int:
        return int(((images - model.points[1]).abs().amax(dim=(1, 2, 3)) < 0.1).sum())

    assert copies(model.sample(condition, [1, 2, 3, 4], **settings)) == 4
    assert copies(descent.sample(condition, [1, 2, 3, 4], **settings)) < 4


def test_descent_on_another_noise_gives_another_embedding(tiny: UNetDenoiser) -> None:
    condition, seeds = tiny.condition(["a red fox", "two blue boats"]), [1, 2]
    same, other = (
        EmbeddingDescent(tiny, rms=1e-9, iterations=3, other_noise=other_noise) for other_noise in (False, True)
    )
    with same.sampling(condition, seeds, None) as first, other.sampling(condition, seeds, None) as second:
        found, on_other = first.streams["text"], second.streams["text"]
    torch.testing.assert_close(found, same.descend(condition, draw_noise(seeds, tiny.latent_shape)).streams["text"])
    # Steps of AdamW are of one size at first, whatever the slope: embeddings differ by as much as they moved.
    moved = (found - condition.streams["text"]).abs().max()
    assert float((found - on_other).abs().max()) > 0.1 * float(moved) > 0


def test_a_model_without_a_null_branch_cannot_descend() -> None:
    model = _memoriser()
    model.no_null = "it is distilled"
    with pytest.raises(ConfigError, match="distilled"):
        mitigate(model, "descent")
    assert set(MITIGATIONS) >= {"descent", "random-tokens"}


def test_a_flow_model_descends_in_its_own_space_where_noises_say_nothing(family_folders: dict[str, Path]) -> None:
    model = load_model(str(family_folders["StableDiffusion3Pipeline"]), "cpu").denoiser
    condition, noise = model.condition(["a red fox", "two blue boats"]), draw_noise([1, 2], model.latent_shape)
    timesteps = torch.full((2,), model.schedule.num_train_timesteps - 1)

    def distances(given: PromptEmbeds) -> torch.Tensor:
        with torch.no_grad():
            null = model.predict(noise, timesteps, model.null_condition().repeat(2))
            found = model.predict(noise, timesteps, given)
        assert float((found.noise() - null.noise()).abs().max()) < 1e-4, "at sigma = 1 every prompt predicts this noise"
        return torch.linalg.vector_norm((found.output - null.output).flatten(1), dim=1)

    descent = EmbeddingDescent(model, rms=1e-9, iterations=20, learning_rate=0.05)
    together = descent.descend(condition, noise)
    assert bool((distances(together) < 0.8 * distances(condition)).all())
    alone = descent.descend(condition.select(slice(1, 2)), noise[1:])
    for name, stream in alone.streams.items():
        torch.testing.assert_close(stream[0], together.streams[name][1], rtol=1e-4, atol=1e-5)
        held = ~condition.free[name]
        torch.testing.assert_close(together.streams[name][:, held], condition.streams[name][:, held])

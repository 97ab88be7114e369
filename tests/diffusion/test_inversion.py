import pytest
import torch

from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.inversion import Inversion, Inverter, invert
from imgaudit.models import FiniteSetDenoiser
from imgaudit.models.families.unet import UNetDenoiser
from imgaudit.schema.protocol import InversionConfig
from tests.conftest import make_pipeline, tiny_recipe

NAMES = ["aa", "bb", "cc"]


@pytest.fixture(scope="module")
def tiny() -> UNetDenoiser:
    return UNetDenoiser(make_pipeline(tiny_recipe()), "fingerprint")


def latents_for(denoiser: Denoiser, count: int = 3) -> torch.Tensor:
    return torch.randn((count, *denoiser.latent_shape), generator=torch.Generator().manual_seed(4))


def run(denoiser: Denoiser, latents: torch.Tensor, names: list[str], batch: int = 64, **options: object) -> Inversion:
    config = InversionConfig.model_validate({"steps": 5, "draws": 4} | options)
    return invert(denoiser, latents, names, config, run_seed=1, executor=Executor(batch), paired_steps=2)


def test_inversion_finds_the_memorised_point(finite_set: FiniteSetDenoiser) -> None:
    config = InversionConfig(steps=60, draws=8, learning_rate=0.5)
    inversion = invert(finite_set, finite_set.points[[3, 1]], ["x", "y"], config, run_seed=0, executor=Executor(64))
    assert inversion.prompt_embeds.streams["text"][:, 0].argmax(dim=1).tolist() == [3, 1]
    assert float(inversion.losses[:, -10:].mean()) < float(inversion.losses[:, :10].mean())


def test_an_image_does_not_depend_on_its_chunk_or_batch(tiny: UNetDenoiser) -> None:
    latents = latents_for(tiny)
    together = run(tiny, latents, NAMES)
    for batch in (1, 5):
        again = run(tiny, latents, NAMES, batch=batch)
        torch.testing.assert_close(again.prompt_embeds.streams, together.prompt_embeds.streams, atol=1e-4, rtol=1e-3)
    alone = run(tiny, latents[1:2], NAMES[1:2])
    torch.testing.assert_close(
        alone.prompt_embeds.streams["text"][0], together.prompt_embeds.streams["text"][1], atol=1e-4, rtol=1e-3
    )
    torch.testing.assert_close(alone.paired_timesteps[0], together.paired_timesteps[1])


def test_the_same_call_gives_the_same_bits(tiny: UNetDenoiser) -> None:
    first, second = (run(tiny, latents_for(tiny), NAMES) for _ in range(2))
    assert torch.equal(first.prompt_embeds.streams["text"], second.prompt_embeds.streams["text"])
    assert torch.equal(first.losses, second.losses)


def test_bos_stays_and_everything_else_moves(tiny: UNetDenoiser) -> None:
    null = tiny.null_condition().streams["text"][0]
    moved = run(tiny, latents_for(tiny), NAMES).prompt_embeds.streams["text"]
    assert torch.equal(moved[:, 0], null[0].expand(3, -1))
    assert bool((moved[:, 1:] != null[1:]).any(dim=2).all())


def test_random_initialisation_has_the_nulls_scale(tiny: UNetDenoiser) -> None:
    moved = run(tiny, latents_for(tiny), NAMES, initialisation="random", steps=1, learning_rate=1e-9)
    null_scale = tiny.null_condition().root_mean_square()["text"]
    assert moved.prompt_embeds.root_mean_square()["text"] == pytest.approx(null_scale, rel=0.15)
    assert not torch.equal(moved.prompt_embeds.streams["text"][0], moved.prompt_embeds.streams["text"][1])


def test_the_budget_is_counted(tiny: UNetDenoiser) -> None:
    before = tiny.network_evaluations
    run(tiny, latents_for(tiny), NAMES)
    # Three images, four draws: five steps forward and backward, two of them with the null errors added.
    assert tiny.network_evaluations - before == 3 * 4 * (5 * 2 + 2)


def test_no_gradient_state_is_left_behind(tiny: UNetDenoiser) -> None:
    inversion = run(tiny, latents_for(tiny), NAMES)
    assert not inversion.prompt_embeds.streams["text"].requires_grad
    assert all(weight.grad is None for weight in tiny.pipeline.unet.parameters())


def test_going_on_with_some_images_is_inverting_them_alone(tiny: UNetDenoiser) -> None:
    latents, config = latents_for(tiny), InversionConfig(steps=5, draws=4)
    inverter = Inverter(tiny, latents, NAMES, config, run_seed=1, executor=Executor(64))
    for _ in range(2):
        inverter.step(paired=True)
    inverter.keep([2, 0])
    for _ in range(3):
        inverter.step()
    found = inverter.result()
    alone = invert(tiny, latents[[2, 0]], ["cc", "aa"], config, run_seed=1, executor=Executor(64))
    torch.testing.assert_close(found.prompt_embeds.streams, alone.prompt_embeds.streams, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(found.losses, alone.losses, atol=1e-4, rtol=1e-3)
    assert found.paired_timesteps.shape == (2, 8) and inverter.steps == 5

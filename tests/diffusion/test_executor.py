"""The executor: memory that runs out halves the batch and changes nothing else."""

import pytest
import torch

from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.inversion import invert
from imgaudit.models.families.unet import UNetDenoiser
from imgaudit.schema.protocol import InversionConfig
from tests.conftest import make_pipeline, tiny_recipe

NAMES = ["aa", "bb", "cc"]


@pytest.fixture(scope="module")
def tiny() -> UNetDenoiser:
    return UNetDenoiser(make_pipeline(tiny_recipe()), "fingerprint")


def latents_for(denoiser: Denoiser, count: int = 3) -> torch.Tensor:
    return torch.randn((count, *denoiser.latent_shape), generator=torch.Generator().manual_seed(4))


def test_running_out_of_memory_halves_the_batch_and_loses_nothing(tiny: UNetDenoiser) -> None:
    class Small(UNetDenoiser):
        def predict(self, noisy, timesteps, prompt_embeds):  # type: ignore[no-untyped-def]
            if len(noisy) > 3:
                raise torch.OutOfMemoryError("simulated")
            return super().predict(noisy, timesteps, prompt_embeds)

    small = Small(make_pipeline(tiny_recipe()), "fingerprint")
    executor = Executor(12)
    config = InversionConfig(steps=3, draws=4)
    latents = latents_for(small)
    limited = invert(small, latents, NAMES, config, run_seed=1, executor=executor)
    assert executor.batch_size == 3
    roomy = invert(tiny, latents, NAMES, config, run_seed=1, executor=Executor(3))
    torch.testing.assert_close(limited.prompt_embeds.streams, roomy.prompt_embeds.streams)

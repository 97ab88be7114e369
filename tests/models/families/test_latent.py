"""What passes between a device and main memory while an audit works: little for a pass, and no more for many images."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.denoising_error import measure_paired_errors
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.generation import generate
from imgaudit.diffusion.inversion import Inverter
from imgaudit.diffusion.schedules import FlowSchedule, NoiseSchedule, Schedule
from imgaudit.models.families.latent import LatentDenoiser
from imgaudit.schema.protocol import ErrorConfig, InversionConfig
from tests.diffusion.test_memory import FAMILIES
from tests.support.host_traffic import META, HostTraffic, move_to_meta

# Raised inside diffusers' solvers; nothing of ours can avoid it.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

TO_DEVICE = 7
"""Copies to the device for one pass: images' places, noise, schedule, conditions' places, timesteps, weights twice."""


@pytest.fixture(params=["stable diffusion", "sdxl", "sd3", "flux dev"])
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[], LatentDenoiser]:
    # Taken once, before the first step, and not to be had without numbers.
    monkeypatch.setattr(PromptEmbeds, "root_mean_square", lambda self: dict.fromkeys(self.streams, 1.0))
    return FAMILIES[request.param]


def count(work: Callable[[], object]) -> tuple[int, int, int]:
    with HostTraffic() as traffic:
        work()
    return traffic.to_device, traffic.to_host, traffic.numbers


def test_a_step_of_the_inversion_asks_for_its_errors_and_for_nothing_else(make: Callable[[], LatentDenoiser]) -> None:
    denoiser = move_to_meta(make())
    latents = torch.zeros(2, *denoiser.latent_shape, device=META)
    with HostTraffic():
        inverter = Inverter(
            denoiser, latents, ["00", "11"], InversionConfig(draws=2), run_seed=1, executor=Executor(4)
        )  # fmt: skip
        inverter.step()
    to_device, to_host, numbers = count(inverter.step)
    assert (to_host, numbers) == (1, 0) and to_device <= TO_DEVICE


def test_errors_are_copied_back_once_for_each_batch(make: Callable[[], LatentDenoiser]) -> None:
    denoiser = move_to_meta(make())
    latents = torch.zeros(2, *denoiser.latent_shape, device=META)
    condition = denoiser.start_condition().map(lambda one: one.repeat(2, *[1] * (one.dim() - 1)))

    def measure(draws: int) -> tuple[int, int, int]:
        config = ErrorConfig(draws=draws)
        return count(
            lambda: measure_paired_errors(
                denoiser, latents, ["00", "11"], condition, config, run_seed=1, executor=Executor(4), baseline="start"
            )
        )

    few, many = measure(4), measure(8)
    # Two more batches under each of two conditions; neither trains anything, so there are no weights.
    to_device, to_host, numbers = (more - less for more, less in zip(many, few, strict=True))
    assert to_device <= 4 * (TO_DEVICE - 2) and to_host == 4 and few[2] == numbers == 0


def test_a_batch_is_decoded_and_copied_back_at_once() -> None:
    denoiser = move_to_meta(FAMILIES["stable diffusion"]())
    one = denoiser.null_condition()

    def sample(images: int) -> Callable[[], Any]:
        condition = one.map(lambda tensor: tensor.expand(images, *tensor.shape[1:]))
        return lambda: list(
            generate(denoiser, condition, [[1]] * images, guidance_scale=3.0, num_inference_steps=2,
                     executor=Executor(16))
        )  # fmt: skip

    single, several = count(sample(1)), count(sample(8))
    assert several == single and single[1] == 1
    latents = torch.zeros(8, *denoiser.latent_shape, device=META)
    assert count(lambda: denoiser.decode(latents)) == (0, 1, 0)
    assert count(lambda: denoiser.encode(torch.zeros(8, 3, denoiser.resolution, denoiser.resolution))) == (1, 0, 0)


@pytest.mark.parametrize("schedule", [NoiseSchedule(torch.linspace(0.999, 0.01, 50).double()), FlowSchedule(50)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_factors_are_bit_for_bit_those_that_are_copied_one_by_one(schedule: Schedule, dtype: torch.dtype) -> None:
    timesteps, like = torch.tensor([0, 7, 49]), torch.zeros(3, 4, 2, 2, dtype=dtype)
    for together, alone in zip(schedule.coefficients(timesteps, like), schedule.shares(timesteps), strict=True):
        assert torch.equal(together, alone.reshape(-1, 1, 1, 1).to(like)) and together.dtype == dtype


def test_chosen_conditions_are_bit_for_bit_the_rows_of_their_tensors() -> None:
    stream, mask = torch.randn(3, 2, 4, requires_grad=True), torch.arange(3)[:, None]
    condition = PromptEmbeds({"text": stream}, {}, {"mask": mask})
    rows = torch.tensor([2, 0, 2])
    chosen = condition.select(rows)
    assert torch.equal(chosen.streams["text"], stream[rows]) and torch.equal(chosen.extras["mask"], mask[rows])
    own, plain = (torch.autograd.grad(one.square().sum(), stream)[0] for one in (chosen.streams["text"], stream[rows]))
    assert torch.equal(own, plain)

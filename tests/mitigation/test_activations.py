"""Column norms of feed-forward layers, against a plain loop."""

import math

import pytest
import torch

from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.guided_trajectory import choose_timesteps
from imgaudit.diffusion.schedules import Prediction
from imgaudit.diffusion.seeds import draw_noise, draw_seed
from imgaudit.mitigation.activations import TrajectorySettings, measure_column_norms
from imgaudit.mitigation.feed_forward import find_feed_forward_outputs
from imgaudit.models.families.unet import UNetDenoiser
from tests.conftest import make_pipeline, tiny_recipe

SETTINGS = TrajectorySettings(steps=3, sampling_steps=5, guidance_scale=2.0, seed=4)


@pytest.fixture
def tiny() -> UNetDenoiser:
    return UNetDenoiser(make_pipeline(tiny_recipe()), "tiny")


def test_column_norms_are_those_of_a_plain_loop_over_the_conditional_half(tiny: UNetDenoiser) -> None:
    layers = find_feed_forward_outputs(tiny.network)
    prompts = ["a red fox", "two blue boats", "the green hill"]
    found = measure_column_norms(tiny, layers, prompts, SETTINGS, executor=Executor(2))
    timesteps = choose_timesteps(tiny.schedule, 5)
    name, layer = next(iter(layers.items()))
    squares = torch.zeros(3, layer.in_features, dtype=torch.float64)
    count = 0
    for place, prompt in enumerate(prompts):
        x = draw_noise([draw_seed(4, "", "feed-forward activations", place)], tiny.latent_shape)
        for step in range(3):
            taken: list[torch.Tensor] = []
            with torch.no_grad():
                base = tiny.predict(x, timesteps[step : step + 1], tiny.null_condition())
                handle = layer.register_forward_pre_hook(lambda _, given, taken=taken: taken.append(given[0]))  # type: ignore[misc]
                own = tiny.predict(x, timesteps[step : step + 1], tiny.condition([prompt]))
                handle.remove()
            for row in taken[0].flatten(0, -2).double():
                squares[step] += (row / math.sqrt(float((row**2).sum()))) ** 2
                count += step == 0
            mixed = Prediction(
                base.output + 2.0 * (own.output - base.output), x, base.timesteps, base.kind, base.schedule
            )
            if step < 2:
                x = tiny.schedule.add_noise(mixed.x0(), mixed.noise(), timesteps[step + 1 : step + 2])
    torch.testing.assert_close(found[name], (squares / count).sqrt(), rtol=1e-4, atol=1e-6)
    assert not any(one._forward_pre_hooks for one in layers.values()), "hooks are taken off again"
    alone = measure_column_norms(tiny, layers, prompts, SETTINGS, executor=Executor(64))
    torch.testing.assert_close(found[name], alone[name], rtol=1e-5, atol=1e-7)

import math

import torch

from imgaudit.models import FiniteSetDenoiser


def test_two_points_have_the_posterior_written_on_paper() -> None:
    points = torch.tensor([1.0, -1.0], dtype=torch.float64).reshape(2, 1, 1, 1).expand(2, 3, 1, 1).contiguous()
    model = FiniteSetDenoiser(points)
    t = torch.tensor([50])
    abar = float(model.schedule.alphas_cumprod[50])
    x = torch.full((1, 3, 1, 1), 0.3, dtype=torch.float64)
    # Bayes for two equal points: E[x0 | x] = tanh(sum over elements of sqrt(abar) x / (1 - abar)).
    expected = math.tanh(3 * math.sqrt(abar) * 0.3 / (1 - abar))
    got = model.predict(x, t, model.null_condition()).x0()
    torch.testing.assert_close(got, torch.full_like(got, expected), rtol=1e-10, atol=1e-10)


def test_the_right_prompt_predicts_its_point_without_error(finite_set: FiniteSetDenoiser) -> None:
    finite_set.sharpness = 1e4
    noise = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    for time in (0, 50, 99):
        timesteps = torch.full((5,), time)
        noisy = finite_set.schedule.add_noise(finite_set.points, noise, timesteps)
        prediction = finite_set.predict(noisy, timesteps, finite_set.condition(["0", "1", "2", "3", "4"]))
        torch.testing.assert_close(prediction.noise(), noise, atol=2e-4, rtol=2e-4)


def test_samples_under_the_null_condition_are_always_points(finite_set: FiniteSetDenoiser) -> None:
    images = finite_set.sample(
        finite_set.null_condition().repeat(8), range(8), guidance_scale=1.0, num_inference_steps=30
    )
    distance = (images[:, None] - finite_set.points[None]).flatten(2).square().mean(2).sqrt().min(dim=1).values
    assert float(distance.max()) < 0.02

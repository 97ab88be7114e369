import pytest
import torch

from imgaudit.diffusion.model_checks.predictors import (
    cosine_variances,
    draw_nested_noise,
    scalar_error,
    wiener_error,
)


@pytest.mark.parametrize(("signal", "noise"), [(0.9, 0.1), (0.6, 0.8), (0.1, 0.995)])
def test_the_guess_is_the_best_line_through_noisy_latents(signal: float, noise: float) -> None:
    generator = torch.Generator().manual_seed(0)
    clean = 0.7 + 1.3 * torch.randn(200_000, generator=generator, dtype=torch.float64)
    noisy = signal * clean + noise * torch.randn(200_000, generator=generator, dtype=torch.float64)
    slope = torch.cov(torch.stack([clean, noisy]))[0, 1] / noisy.var()
    residual = (clean - clean.mean()) - slope * (noisy - noisy.mean())
    assert scalar_error(1.3**2, signal, noise) == pytest.approx(float(residual.square().mean()), rel=0.02)


def test_without_signal_the_guess_is_the_mean_and_without_noise_it_is_exact() -> None:
    assert scalar_error(2.5, 0.0, 1.0) == 2.5
    assert scalar_error(2.5, 1.0, 0.0) == 0.0


def test_the_wiener_filter_is_the_guess_where_all_coefficients_vary_alike_and_better_elsewhere() -> None:
    latents = torch.randn(4000, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    assert wiener_error(cosine_variances(latents), 0.6, 0.8) == pytest.approx(scalar_error(1.0, 0.6, 0.8), rel=0.02)
    smooth = latents.mean(dim=(2, 3), keepdim=True) * 4 + 0.1 * latents
    variance = float(smooth.var())
    assert wiener_error(cosine_variances(smooth), 0.6, 0.8) < 0.5 * scalar_error(variance, 0.6, 0.8)


def test_nested_noise_is_standard_normal_and_agrees_in_its_coarse_parts() -> None:
    small, large = (draw_nested_noise(500, 3, side, 12, torch.Generator().manual_seed(1)) for side in (6, 12))
    for noise in (small, large):
        assert float(noise.mean()) == pytest.approx(0, abs=0.02) and float(noise.std()) == pytest.approx(1, abs=0.02)
    # The mean of an orthonormal transform of side s is the first coefficient divided by s.
    assert torch.allclose(small.mean(dim=(2, 3)) * 6, large.mean(dim=(2, 3)) * 12, atol=1e-5)

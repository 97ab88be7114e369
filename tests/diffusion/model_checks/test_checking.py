import math

import numpy as np
import pytest
import torch
from PIL import Image

from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.model_checks import CheckImages, CheckPlan, check_model
from imgaudit.diffusion.model_checks.autoencoder import check_autoencoder
from imgaudit.diffusion.model_checks.denoising import measure_relative_errors
from imgaudit.diffusion.model_checks.images import make_check
from imgaudit.diffusion.model_checks.samples import band_powers, check_samples
from imgaudit.diffusion.model_checks.schedule import check_schedule
from imgaudit.diffusion.model_checks.sizes import _compare, bound_ratio, choose_neighbours
from imgaudit.diffusion.schedules import FlowSchedule, NoiseSchedule
from imgaudit.io.framing import to_image
from imgaudit.models import FiniteSetDenoiser
from imgaudit.schema.model_checks import ModelCheck, ModelChecks
from imgaudit.schema.protocol import Framing


def points(count: int = 8) -> torch.Tensor:
    coarse = torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    return torch.nn.functional.interpolate(coarse, (16, 16), mode="bicubic").clamp(-1, 1)


def pictures(tensor: torch.Tensor) -> list[Image.Image]:
    return [to_image(one) for one in tensor]


def failed(checks: list[ModelCheck]) -> set[str]:
    return {check.name for check in checks if not check.passed}


def test_a_perfect_model_of_the_images_passes_with_few_evaluations() -> None:
    denoiser = FiniteSetDenoiser(points())
    images = CheckImages(pictures(denoiser.points), Framing.CROP)
    checks = check_model(denoiser, images, CheckPlan(20, 0), Executor(32))
    assert failed(checks) == set() and len(checks) == 11
    assert denoiser.network_evaluations <= 300
    assert checks == check_model(denoiser, images, CheckPlan(20, 0), Executor(32)), "the same draws every time"


def test_a_perfect_model_of_other_images_is_no_better_than_the_guess() -> None:
    denoiser = FiniteSetDenoiser(points())
    others = CheckImages(pictures(points(24)[8:]), Framing.CROP)
    assert "denoising error at middle noise" in failed(check_model(denoiser, others, CheckPlan(20, 0), Executor(32)))


def test_errors_relative_to_the_guess_are_those_of_the_formula_for_one_point() -> None:
    # A model that knows one point has no error on it, and on another the distance between both at any noise level.
    known, other = points(2)
    denoiser = FiniteSetDenoiser(known[None])
    generator = torch.Generator().manual_seed(0)
    assert all(one.ratio < 1e-9 for one in measure_relative_errors(denoiser, known[None], generator, Executor(8)))
    for one in measure_relative_errors(denoiser, other[None], generator, Executor(8)):
        signal, noise = (float(share) for share in denoiser.schedule.shares(torch.tensor([one.timestep])))
        variance = float(other.double().var(unbiased=False))
        guess = variance * noise**2 / (signal**2 * variance + noise**2)
        assert one.ratio == pytest.approx(float((known - other).double().square().mean()) / guess, rel=1e-4)


def test_schedules_go_from_image_to_noise_without_a_step_back() -> None:
    good = torch.linspace(0.999, 0.005, 100, dtype=torch.float64)
    assert failed(check_schedule(NoiseSchedule(good))) == set() == failed(check_schedule(FlowSchedule(1000)))
    assert failed(check_schedule(NoiseSchedule(torch.ones(100, dtype=torch.float64)))) == {"image at the last timestep"}
    assert failed(check_schedule(NoiseSchedule(good.flip(0)))) == {
        "noise at the first timestep", "image at the last timestep", "steps of the schedule that go backwards",
    }  # fmt: skip
    broken = good.clone()
    broken[50] = math.nan
    assert "steps of the schedule that go backwards" in failed(check_schedule(NoiseSchedule(broken)))


def test_an_autoencoder_that_loses_images_or_scales_them_fails() -> None:
    images = points()

    class Blind(FiniteSetDenoiser):
        def decode(self, latents: torch.Tensor) -> torch.Tensor:
            return latents.mean(dim=(1, 2, 3), keepdim=True).expand(latents.shape)

    assert failed(check_autoencoder(FiniteSetDenoiser(images), images, images, Executor(8))) == set()
    assert failed(check_autoencoder(Blind(images), images, images, Executor(8))) == {"loss of the autoencoder"}
    assert failed(check_autoencoder(FiniteSetDenoiser(images), images, images / 4, Executor(8))) >= {
        "spread of latents"
    }


@pytest.mark.parametrize(
    ("samples", "name"),
    [
        (torch.full((2, 3, 16, 16), math.nan), "generated images that are not finite"),
        (torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)), "fine detail of generated images"),
        (0.02 * points(2), "spread of generated latents"),
        (points(2).mean(dim=(2, 3), keepdim=True).expand(2, 3, 16, 16), "coarse detail of generated images"),
    ],
)
def test_generated_images_that_are_lost_noise_or_flat_fail(samples: torch.Tensor, name: str) -> None:
    real = points()
    assert failed(check_samples(FiniteSetDenoiser(real), real[:2], real, Executor(8))) == set()
    assert name in failed(check_samples(FiniteSetDenoiser(real), samples, real, Executor(8)))


def test_power_falls_into_the_band_of_its_fineness() -> None:
    wave = torch.cos(torch.pi * 12 * (torch.arange(16) + 0.5) / 16).expand(1, 3, 16, 16)
    powers = band_powers(wave)
    assert powers.argmax() == 3 and powers[:3].max() < 1e-9


def test_other_sizes_are_those_that_the_network_halves_without_rest() -> None:
    assert choose_neighbours(12, 4) == [8, 16]
    assert choose_neighbours(4, 4) == [8]
    assert choose_neighbours(8, 1) == [6, 11]


def test_a_size_fails_only_if_chance_over_images_does_not_explain_it() -> None:
    draw = np.random.default_rng(0)
    others = draw.uniform(1.0, 2.0, 16)
    # 2 % more on every image is beyond chance; 2 % on average, from -18 % to 22 %, is not.
    for factors, passed in ((np.full(16, 1.02), False), (1.02 + 0.2 * np.resize([1.0, -1.0], 16), True)):
        [check] = _compare({8: others * factors, 12: others}, 8)
        assert check.passed is passed and check.value > 1 and check.lower_bound is not None
    assert _compare({8: others}, 8) == []


def test_the_bound_of_a_ratio_holds_as_often_as_it_says() -> None:
    draw, truth, held = np.random.default_rng(1), 1.05, 0
    for _ in range(2000):
        others = draw.gamma(9.0, size=16)
        ratio, bound = bound_ratio(truth * others * draw.lognormal(0.0, 0.1, 16) / math.exp(0.005), others)
        held += bound <= truth
        assert bound < ratio
    # Three standard errors of 2,000 draws; the jackknife is known to be slightly off at 16 images.
    assert abs(held / 2000 - 0.95) < 0.015 + 0.01
    assert bound_ratio(np.array([2.0]), np.array([1.0])) == (2.0, 0.0)
    assert bound_ratio(np.array([2.0, 0.0]), np.array([1.0, 0.0])) == (2.0, 0.0)
    assert math.isnan(bound_ratio(np.array([math.nan, 1.0]), np.array([1.0, 1.0]))[0])


def test_numbers_that_are_not_finite_fail_whatever_the_band() -> None:
    assert make_check("x", 1.0, "", 0.5, 2.0).passed
    for value in (math.nan, math.inf, -math.inf):
        check = make_check("x", value, "")
        assert not check.passed
        checks = ModelChecks(source="targets", images=1, network_evaluations=0, seconds=0.0, checks=(check,))
        [read] = ModelChecks.model_validate(checks.model_dump(mode="json")).failed
        assert math.isnan(read.value) if math.isnan(value) else read.value == value

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from hypothesis import given
from hypothesis import strategies as st

from imgaudit.diffusion.schedules import (
    FlowSchedule,
    NoiseSchedule,
    Prediction,
    PredictionType,
    draw_timesteps,
    weigh_losses,
)
from imgaudit.exceptions import UndefinedConversionError

KINDS: list[PredictionType] = ["epsilon", "v_prediction", "sample"]


def stable_diffusion(kind: str = "epsilon") -> DDIMScheduler:
    return DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=kind,
                         clip_sample=False)  # fmt: skip


def schedule_of(scheduler: DDIMScheduler) -> NoiseSchedule:
    return NoiseSchedule(scheduler.alphas_cumprod.double())


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    x0 = torch.randn(6, 4, 8, 8, generator=generator)
    noise = torch.randn(6, 4, 8, 8, generator=generator)
    return x0, noise, torch.tensor([0, 1, 250, 500, 900, 999])


def test_known_values_of_the_stable_diffusion_schedule() -> None:
    abar = schedule_of(stable_diffusion()).alphas_cumprod
    expected = [0.894, 0.674, 0.276, 0.056, 0.0142, 0.00466]
    assert [round(float(abar[t]), 4) for t in (100, 250, 500, 750, 900, 999)] == pytest.approx(expected, abs=6e-4)


def test_noise_and_velocity_agree_with_diffusers(batch: tuple[torch.Tensor, ...]) -> None:
    x0, noise, timesteps = batch
    scheduler = stable_diffusion()
    ours = schedule_of(scheduler)
    torch.testing.assert_close(ours.add_noise(x0, noise, timesteps), scheduler.add_noise(x0, noise, timesteps))
    torch.testing.assert_close(
        ours.target("v_prediction", x0, noise, timesteps), scheduler.get_velocity(x0, noise, timesteps)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_perfect_output_converts_to_the_truth(kind: PredictionType, batch: tuple[torch.Tensor, ...]) -> None:
    x0, noise, timesteps = (part.double() if part.is_floating_point() else part for part in batch)
    schedule = schedule_of(stable_diffusion())
    output = schedule.target(kind, x0, noise, timesteps)
    prediction = Prediction(output, schedule.add_noise(x0, noise, timesteps), timesteps, kind, schedule)
    torch.testing.assert_close(prediction.x0(), x0, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(prediction.noise(), noise, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_conversions_agree_with_ddim_step(kind: PredictionType, batch: tuple[torch.Tensor, ...]) -> None:
    scheduler = stable_diffusion(kind)
    scheduler.set_timesteps(50)
    _, noisy, _ = batch
    output = torch.randn(noisy.shape, generator=torch.Generator().manual_seed(9))
    time = int(scheduler.timesteps[20])
    step = scheduler.step(output, time, noisy)
    ours = Prediction(output, noisy, torch.full((6,), time), kind, schedule_of(scheduler))
    torch.testing.assert_close(ours.x0(), step.pred_original_sample, atol=1e-5, rtol=1e-5)


def test_a_conversion_that_divides_by_zero_is_refused() -> None:
    schedule = NoiseSchedule(torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64))
    noisy = torch.zeros(1, 1, 2, 2)
    with pytest.raises(UndefinedConversionError, match="x0 cannot be computed from epsilon"):
        Prediction(noisy, noisy, torch.tensor([2]), "epsilon", schedule).x0()
    with pytest.raises(UndefinedConversionError, match="noise cannot be computed from sample"):
        Prediction(noisy, noisy, torch.tensor([0]), "sample", schedule).noise()
    Prediction(noisy, noisy, torch.tensor([2]), "v_prediction", schedule).x0()


@given(count=st.integers(1, 64), steps=st.integers(1, 1000), seed=st.integers(0, 2**32))
def test_timesteps_stay_in_range_and_strata_are_each_drawn_once(count: int, steps: int, seed: int) -> None:
    for distribution in ("uniform", "stratified", "high", "middle"):
        drawn = draw_timesteps(distribution, count, steps, torch.Generator().manual_seed(seed))  # type: ignore[arg-type]
        assert drawn.shape == (count,) and int(drawn.min()) >= 0 and int(drawn.max()) < steps
    stratified = draw_timesteps("stratified", count, 1000 * count, torch.Generator().manual_seed(seed))
    assert (stratified // 1000).tolist() == list(range(count))


def test_weights_turn_output_errors_into_x0_errors(batch: tuple[torch.Tensor, ...]) -> None:
    x0, noise, timesteps = (part.double() if part.is_floating_point() else part for part in batch)
    schedule = schedule_of(stable_diffusion())
    noisy = schedule.add_noise(x0, noise, timesteps)
    for kind in KINDS:
        output = schedule.target(kind, x0, noise, timesteps) + 0.1
        error = (Prediction(output, noisy, timesteps, kind, schedule).x0() - x0).square().flatten(1).mean(1)
        weights = weigh_losses("x0", kind, schedule.snr(timesteps))
        torch.testing.assert_close(weights * 0.01, error)
        clipped = weigh_losses("min_snr", kind, schedule.snr(timesteps))
        torch.testing.assert_close(clipped, weights * schedule.snr(timesteps).clamp(max=5))
        assert bool((weigh_losses("native", kind, schedule.snr(timesteps)) == 1).all())


@pytest.mark.parametrize("kind", ["flow", "epsilon", "sample"])
def test_a_perfect_output_on_a_straight_path_converts_to_the_truth(
    kind: PredictionType, batch: tuple[torch.Tensor, ...]
) -> None:
    x0, noise, _ = (part.double() for part in batch)
    schedule, timesteps = FlowSchedule(), torch.tensor([0, 1, 250, 500, 900, 998])
    noisy = schedule.add_noise(x0, noise, timesteps)
    prediction = Prediction(schedule.target(kind, x0, noise, timesteps), noisy, timesteps, kind, schedule)
    for found, truth in ((prediction.x0(), x0), (prediction.noise(), noise)):
        torch.testing.assert_close(found, truth, atol=1e-5, rtol=1e-5)


def test_where_there_is_only_noise_the_flow_tells_conditions_apart_and_the_noise_does_not() -> None:
    schedule, timesteps = FlowSchedule(), torch.tensor([999])
    noisy, outputs = torch.randn(1, 4, 8, 8), torch.randn(2, 1, 4, 8, 8)
    one, other = (Prediction(output, noisy, timesteps, "flow", schedule) for output in outputs)
    torch.testing.assert_close(one.noise(), other.noise())
    assert float((one.output - other.output).abs().mean()) > 0.1 < float((one.x0() - other.x0()).abs().mean())


def test_the_straight_path_is_that_of_diffusers() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler()
    schedule = FlowSchedule(scheduler.config.num_train_timesteps)
    x0, noise, timesteps = torch.randn(3, 4, 8, 8), torch.randn(3, 4, 8, 8), torch.tensor([999, 500, 0])
    theirs = scheduler.scale_noise(x0, schedule.sigmas(timesteps).float() * 1000, noise)
    torch.testing.assert_close(schedule.add_noise(x0, noise, timesteps), theirs)
    # One Euler step with the true velocity lands on the path.
    scheduler.set_timesteps(10)
    first, second = scheduler.sigmas[4], scheduler.sigmas[5]
    scheduler.set_begin_index(4)
    noisy = (1 - first) * x0 + first * noise
    stepped = scheduler.step(noise - x0, scheduler.timesteps[4], noisy).prev_sample
    torch.testing.assert_close(stepped, (1 - second) * x0 + second * noise)


def test_the_error_of_x0_follows_from_that_of_the_flow() -> None:
    schedule, timesteps = FlowSchedule(), torch.tensor([99, 499, 899])
    weights = weigh_losses("x0", "flow", schedule.snr(timesteps))
    torch.testing.assert_close(weights, schedule.sigmas(timesteps) ** 2)

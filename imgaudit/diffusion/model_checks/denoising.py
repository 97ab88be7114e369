"""Denoising: a network that works predicts real images better than a guess that knows their mean and spread alone."""

import math
from dataclasses import dataclass

import torch

from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.model_checks.images import make_check
from imgaudit.diffusion.model_checks.predictors import scalar_error
from imgaudit.diffusion.schedules import weigh_losses
from imgaudit.schema.model_checks import ModelCheck

STRATA = 8
"""Equal parts of the timesteps, at whose centres errors are measured."""

MIDDLE_SNR = (0.2, 10.0)
"""Signal-to-noise ratios between which a network that works clearly beats the guess: there is much to know."""

MOST_MIDDLE_ERROR = 0.8
"""Largest error in the middle, as a multiple of the guess's."""

MOST_ERROR = 1.5
"""Largest error at any timestep, as a multiple of the guess's; distilled and out-of-place models exceed 1 at an end."""


TIMESTEP_SHIFT = 0.08
"""Shift of the timesteps that a network is told, as a part of the schedule."""

MOST_TIMESTEP_ERROR = 1.02
"""Largest error of a network that is told the truth about the noise, as a multiple of that of one told wrongly."""

LEVELS = (0.35, 0.65)
"""Timesteps whose noise a network is told wrongly, as parts of the schedule."""


@dataclass(frozen=True)
class RelativeError:
    """The error at one timestep."""

    timestep: int
    """The timestep."""
    snr: float
    """Its signal-to-noise ratio."""
    ratio: float
    """Error of the network / error of the guess; lower = better, 1 = no better than the guess."""


@torch.no_grad()
def image_errors(
    denoiser: Denoiser,
    latents: torch.Tensor,
    timestep: int,
    noise: torch.Tensor,
    executor: Executor,
    *,
    told: int | None = None,
) -> torch.Tensor:
    """Return the squared error of x0 per image, under a condition that says nothing: (N,) float64 on the CPU.

    latents, noise:  (N, C, h, w) float32
    timestep:        decides how much noise is added
    told:            timestep that the network is given, where it is another one
    """
    condition = denoiser.start_condition()

    def measure(rows: slice) -> torch.Tensor:
        x0, own = latents[rows], noise[rows]
        timesteps = torch.full((len(x0),), timestep)
        given = timesteps if told is None else torch.full_like(timesteps, told)
        noisy = denoiser.schedule.add_noise(x0, own, timesteps)
        prediction = denoiser.predict(noisy, given, condition.repeat(len(x0)))
        target = denoiser.schedule.target(prediction.kind, x0, own, timesteps)
        native = (prediction.output.cpu() - target).double().square().flatten(1).mean(dim=1)
        return native * weigh_losses("x0", prediction.kind, denoiser.schedule.snr(timesteps))

    return torch.cat(list(executor.slices(len(latents), measure)))


def measure_relative_errors(
    denoiser: Denoiser, latents: torch.Tensor, generator: torch.Generator, executor: Executor
) -> list[RelativeError]:
    """Measure the error at the centre of every stratum; strata without noise or without image are left out.

    latents:  (N, C, h, w) float32, scaled
    """
    variance, steps = float(latents.double().var(unbiased=False)), denoiser.schedule.num_train_timesteps
    errors = []
    for stratum in range(STRATA):
        timestep = int((stratum + 0.5) * steps / STRATA)
        signal, spread = (float(share) for share in denoiser.schedule.shares(torch.tensor([timestep])))
        guess = scalar_error(variance, signal, spread)
        noise = torch.randn(latents.shape, generator=generator)
        if signal > 0 and spread > 0 and guess > 0:
            error = float(image_errors(denoiser, latents, timestep, noise, executor).mean())
            errors.append(RelativeError(timestep, (signal / spread) ** 2, error / guess))
    return errors


def check_denoising(errors: list[RelativeError]) -> list[ModelCheck]:
    """Return two checks of the errors: in the middle of the noise levels, and at the worst of all."""
    low, high = MIDDLE_SNR
    middle = [error.ratio for error in errors if low <= error.snr <= high]
    mean = sum(middle) / len(middle) if middle else float("nan")
    worst = max(errors, key=lambda error: error.ratio, default=RelativeError(0, 0.0, float("nan")))
    where = "see prediction_type and betas in scheduler_config.json and the network's config.json"
    return [
        make_check(
            "denoising error at middle noise", mean,
            f"at middle noise the network's error is {mean:.2f} times that of a guess that knows no image; {where}"
            if middle else f"no timestep that was looked at has middle noise; {where}", high=MOST_MIDDLE_ERROR,
        ),
        make_check(
            "largest denoising error", worst.ratio,
            f"at timestep {worst.timestep} the network's error is {worst.ratio:.2f} times that of a guess that knows "
            f"no image; {where}", high=MOST_ERROR,
        ),
    ]  # fmt: skip


def check_timesteps(
    denoiser: Denoiser, latents: torch.Tensor, generator: torch.Generator, executor: Executor
) -> list[ModelCheck]:
    """Compare errors with those where the network is told that there is less or more noise than there is.

    A network trained with this schedule does best when it is told the truth. The number is the error under the truth
    over that under a shift, as a geometric mean over noise levels, for the shift that is closer to being better.

    latents:  (N, C, h, w) float32, scaled
    """
    steps = denoiser.schedule.num_train_timesteps
    shift = max(1, round(steps * TIMESTEP_SHIFT))
    logs: dict[int, list[float]] = {-shift: [], shift: []}
    for part in LEVELS:
        timestep = int(part * steps)
        if timestep < shift or float(denoiser.schedule.snr(torch.tensor([timestep]))) in (0.0, math.inf):
            continue
        noise = torch.randn(latents.shape, generator=generator)
        own = float(image_errors(denoiser, latents, timestep, noise, executor).mean())
        for move, ratios in logs.items():
            told = min(timestep + move, steps - 1)
            other = float(image_errors(denoiser, latents, timestep, noise, executor, told=told).mean())
            ratios.append(math.log(own / other) if own > 0 < other else math.nan)
    ratio = max(math.exp(sum(one) / len(one)) if one else math.nan for one in logs.values())
    return [
        make_check(
            "error at the schedule's own timesteps", ratio,
            f"the network's error is {ratio:.2f} times what it is when it is told of more or less noise than the "
            "schedule adds; see betas and num_train_timesteps in scheduler_config.json", high=MOST_TIMESTEP_ERROR,
        )
    ]  # fmt: skip

"""Conditional minus null predictions along a guided, deterministic sampling trajectory.

From x_T ~ N(0, I), at evenly spaced timesteps from the noisiest on,

    d_t     = f(x_t, t, c) - f(x_t, t, null)                 f: the network's raw output
    f_g     = f(x_t, t, null) + g d_t                        classifier-free guidance, g the scale
    x_t'    = a_t' x0(f_g) + s_t' noise(f_g)                 a, s: the schedule's shares of image and noise

which is DDIM with eta 0 for variance-preserving schedules and Euler's step for straight paths. Differences are taken
before they are multiplied by the guidance scale.
"""

from dataclasses import dataclass

import torch

from imgaudit.diffusion.denoiser import Denoiser, PromptEmbeds
from imgaudit.diffusion.schedules import SMALLEST_SIGNAL, Prediction, Schedule

PROBE = 1e-2
"""Root mean square of the step of finite differences, in latents whose noise has 1: large against float32's rounding
of predictions, small against the noise."""


@dataclass(frozen=True)
class RowMeasures:
    """Measures of a trajectory for each of N rows, each a mean over the steps, on the CPU in float64."""

    native: torch.Tensor
    """(N,), |d|_2 in the network's output space."""
    epsilon: torch.Tensor | None
    """(N,), |d|_2 between predicted noises; None where they say nothing (see `explain_no_epsilon`)."""
    sharpness: torch.Tensor | None
    """(N,), |H_d d|_2^2 (see `measure_trajectory`); None where it was not asked for."""


def choose_timesteps(schedule: Schedule, sampling_steps: int) -> torch.Tensor:
    """Return (sampling_steps,) int64, evenly spaced from the noisiest timestep, which is always the first, to 0.

    >>> from imgaudit.diffusion.schedules import FlowSchedule
    >>> choose_timesteps(FlowSchedule(100), 4).tolist()
    [99, 66, 33, 0]
    """
    return torch.linspace(schedule.num_train_timesteps - 1, 0, sampling_steps).round().long()


def explain_no_epsilon(schedule: Schedule, kind: str, timesteps: torch.Tensor) -> str:
    """Return why differences of predicted noise mean nothing at these timesteps; empty where they mean something.

    Predicted noises of a network of velocities or clean latents differ by d times the share of image in x_t, and are
    therefore the same for every prompt where that share is 0: at sigma = 1, and under zero-terminal-SNR schedules.
    """
    signal, _ = schedule.shares(timesteps)
    blind = int((signal < SMALLEST_SIGNAL).sum())
    if kind == "epsilon" or not blind:
        return ""
    return (
        f"at {blind} of {len(timesteps)} timesteps there is no image in what the network sees, so that predicted "
        f"noises are the same for every prompt; measured in the network's own output space ({kind}) instead"
    )


def measure_trajectory(
    denoiser: Denoiser,
    condition: PromptEmbeds,
    null: PromptEmbeds,
    noise: torch.Tensor,
    timesteps: torch.Tensor,
    *,
    steps: int,
    guidance_scale: float,
    sharpness: bool = False,
) -> RowMeasures:
    """Measure the first `steps` steps of the trajectory from `noise`.

    Sharpness is the squared norm of the difference of scores s = -d / spread under its own Jacobian,

        |H_d d|_2^2 / spread^4,   H_d d ~ |d| (d(x + h u) - d(x - h u)) / 2h,   u = d / |d|

    by central differences with h = 0.01 sqrt(elements); without the spread where d is not a difference of noises.

    condition:  one condition for each of the N rows
    null:       one condition
    noise:      (N, C, h, w) float32, standard normal
    timesteps:  of the whole trajectory, as `choose_timesteps` gives them
    """
    kind, schedule, rows = denoiser.prediction_type, denoiser.schedule, len(noise)
    in_epsilon = not explain_no_epsilon(schedule, kind, timesteps[:steps])
    nulls, x = null.repeat(rows), noise
    measures: dict[str, torch.Tensor] = {}

    def add(name: str, value: torch.Tensor) -> None:
        value = value.detach().double().cpu() / steps
        measures[name] = measures[name] + value if name in measures else value

    def parts(prediction: Prediction) -> torch.Tensor:
        return prediction.noise() if in_epsilon else prediction.output

    def difference(at: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        return parts(denoiser.predict(at, times, condition)) - parts(denoiser.predict(at, times, nulls))

    for step in range(steps):
        times = timesteps[step].repeat(rows)
        with torch.no_grad():
            base = denoiser.predict(x, times, nulls)
            found = denoiser.predict(x, times, condition)
            native = found.output - base.output
            add("native", _measure_norms(native))
            if in_epsilon:
                add("epsilon", _measure_norms(parts(found) - parts(base)))
            if sharpness:
                d = parts(found) - parts(base)
                length = _measure_norms(d).clamp_min(torch.finfo(d.dtype).tiny).reshape(-1, 1, 1, 1)
                h = PROBE * d[0].numel() ** 0.5
                ahead, behind = (difference(x + side * h * d / length, times) for side in (1, -1))
                curved = _measure_norms((ahead - behind) / (2 * h) * length).double().cpu() ** 2
                spread = schedule.shares(times)[1] if in_epsilon else torch.ones(rows, dtype=torch.float64)
                add("sharpness", curved / spread**4)
            if step + 1 < steps:
                x = step_latents(base, found, guidance_scale, timesteps[step + 1])
    return RowMeasures(measures["native"], measures.get("epsilon"), measures.get("sharpness"))


def step_latents(
    base: Prediction, found: Prediction, guidance_scale: float, next_timestep: torch.Tensor
) -> torch.Tensor:
    """Take one guided step: return (N, C, h, w) latents at another timestep, without gradients.

    base, found:    null and conditional predictions of the same latents
    next_timestep:  () int64
    """
    guided = found.output
    if guidance_scale > 1:
        guided = base.output + guidance_scale * (found.output - base.output)
    prediction = Prediction(guided, base.noisy, base.timesteps, base.kind, base.schedule)
    return base.schedule.add_noise(prediction.x0(), prediction.noise(), next_timestep.repeat(len(base.noisy))).detach()


def _measure_norms(difference: torch.Tensor) -> torch.Tensor:
    """Return |.|_2 of each row, (N,)."""
    norms: torch.Tensor = torch.linalg.vector_norm(difference.flatten(1), dim=1)
    return norms

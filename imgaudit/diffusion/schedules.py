"""Noise schedules and the algebra between what networks predict.

Notation, as in DDIM (Song et al. 2021) and in diffusers:

    abar_t  = alphas_cumprod[t]                  in (0, 1]
    x_t     = sqrt(abar_t) x0 + sqrt(1 - abar_t) noise
    v       = sqrt(abar_t) noise - sqrt(1 - abar_t) x0         (Salimans & Ho 2022)

and for rectified flows (Liu et al. 2022), sigma from 0 (image) to 1 (noise):

    x_t     = (1 - sigma) x0 + sigma noise
    flow    = noise - x0

Formulas are evaluated in the dtype of the tensors; none divides by a small number when another form exists.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch

from imgaudit.exceptions import UndefinedConversionError

PredictionType = Literal["epsilon", "v_prediction", "sample", "flow"]
"""Output of a network: noise, v, clean latents, or the velocity of a straight path, noise - x0."""

LossWeighting = Literal["native", "min_snr", "x0"]
"""Weights of the losses of single draws; see :func:`weigh_losses`."""

SMALLEST_SIGNAL = 1e-6
"""Below this share of signal or noise a division by it is refused."""


class Schedule(ABC):
    """Shares of clean latents and of noise at each of the discrete timesteps, 0 the cleanest."""

    @property
    @abstractmethod
    def num_train_timesteps(self) -> int:
        """Number of timesteps; valid ones are 0 .. num_train_timesteps - 1."""

    @abstractmethod
    def shares(self, timesteps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the factors of x0 and of noise in x_t: two (N,) float64 tensors."""

    def coefficients(self, timesteps: torch.Tensor, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the factors of x0 and of noise, shaped to multiply `like`.

        timesteps: (N,) int64; like: (N, ...) tensor. Returns two (N, 1, ...) tensors of like's dtype and device.
        """
        shape = (2, -1) + (1,) * (like.dim() - 1)
        # Together, as a copy to a GPU waits for all that the GPU has to do.
        signal, spread = torch.stack(self.shares(timesteps)).reshape(shape).to(like)
        return signal, spread

    def add_noise(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """Return x_t for clean latents: (N, C, h, w), same dtype."""
        signal, spread = self.coefficients(timesteps, latents)
        return signal * latents + spread * noise

    def target(
        self, kind: PredictionType, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> torch.Tensor:
        """Return what a perfect network of this prediction type would output for these draws."""
        if kind == "epsilon":
            return noise
        if kind == "sample":
            return latents
        if kind == "flow":
            return noise - latents
        signal, spread = self.coefficients(timesteps, latents)
        return signal * noise - spread * latents

    def snr(self, timesteps: torch.Tensor) -> torch.Tensor:
        """Return the signal-to-noise ratio, the square of the factors' quotient: (N,) float64."""
        signal, spread = self.shares(timesteps)
        return (signal / spread) ** 2


@dataclass(frozen=True)
class NoiseSchedule(Schedule):
    """A variance-preserving schedule over discrete timesteps."""

    alphas_cumprod: torch.Tensor
    """(num_train_timesteps,) float64, decreasing."""

    @property
    def num_train_timesteps(self) -> int:
        """Number of timesteps."""
        return len(self.alphas_cumprod)

    def shares(self, timesteps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return sqrt(abar_t) and sqrt(1 - abar_t)."""
        abar = self.alphas_cumprod.to(torch.float64)[timesteps.cpu()]
        return abar.sqrt(), (1 - abar).sqrt()

    def snr(self, timesteps: torch.Tensor) -> torch.Tensor:
        """Return abar / (1 - abar): (N,) float64."""
        abar = self.alphas_cumprod.to(torch.float64)[timesteps.cpu()]
        return abar / (1 - abar)


@dataclass(frozen=True)
class FlowSchedule(Schedule):
    """A straight path from image to noise: x_t = (1 - sigma) x0 + sigma noise, at evenly spaced sigmas.

    Timestep t stands for sigma = (t + 1) / num_train_timesteps, as in diffusers' FlowMatchEulerDiscreteScheduler before
    any shift: shifts choose where a sampler steps, and change neither the path nor what the network is to say on it.

    >>> FlowSchedule(4).sigmas(torch.tensor([0, 3])).tolist()
    [0.25, 1.0]
    """

    num_train_timesteps: int = 1000
    """Number of timesteps."""

    def sigmas(self, timesteps: torch.Tensor) -> torch.Tensor:
        """Return the share of noise: (N,) float64 in (0, 1]."""
        return (timesteps.cpu().to(torch.float64) + 1) / self.num_train_timesteps

    def shares(self, timesteps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return 1 - sigma and sigma."""
        sigmas = self.sigmas(timesteps)
        return 1 - sigmas, sigmas


@dataclass(frozen=True)
class Prediction:
    """A network's raw output for noisy latents, converted on demand.

    >>> schedule = NoiseSchedule(torch.tensor([0.75, 0.25], dtype=torch.float64))
    >>> x0, noise, t = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1), torch.tensor([1])
    >>> Prediction(noise, schedule.add_noise(x0, noise, t), t, "epsilon", schedule).x0().item()
    1.0
    """

    output: torch.Tensor
    """(N, C, h, w), what the network returned."""
    noisy: torch.Tensor
    """(N, C, h, w), what it was given."""
    timesteps: torch.Tensor
    """(N,) int64."""
    kind: PredictionType
    """Kind of `output`."""
    schedule: Schedule
    """The schedule under which `noisy` was made."""

    def _checked(self, value: torch.Tensor, wanted: str) -> torch.Tensor:
        if float(value.abs().min()) < SMALLEST_SIGNAL:
            raise UndefinedConversionError(
                f"{wanted} cannot be computed from {self.kind} at timesteps {sorted(set(self.timesteps.tolist()))}: "
                "the formula divides by zero; use the network's own output or another timestep"
            )
        return value

    def x0(self) -> torch.Tensor:
        """Return predicted clean latents. Raises UndefinedConversionError for epsilon where there is no signal."""
        signal, spread = self.schedule.coefficients(self.timesteps, self.noisy)
        if self.kind == "sample":
            return self.output
        if self.kind == "flow":
            # noise = output + x0 in x_t = signal x0 + spread noise; on a straight path the divisor is 1.
            return (self.noisy - spread * self.output) / (signal + spread)
        if self.kind == "v_prediction":
            return signal * self.noisy - spread * self.output
        return (self.noisy - spread * self.output) / self._checked(signal, "x0")

    def noise(self) -> torch.Tensor:
        """Return predicted noise. Raises UndefinedConversionError for x0-networks where there is no noise."""
        signal, spread = self.schedule.coefficients(self.timesteps, self.noisy)
        if self.kind == "epsilon":
            return self.output
        if self.kind == "flow":
            return (self.noisy + signal * self.output) / (signal + spread)
        if self.kind == "v_prediction":
            return signal * self.output + spread * self.noisy
        return (self.noisy - signal * self.output) / self._checked(spread, "noise")


def draw_timesteps(
    distribution: Literal["uniform", "stratified", "high", "middle"],
    count: int,
    num_train_timesteps: int,
    generator: torch.Generator,
) -> torch.Tensor:
    """Draw `count` timesteps: (count,) int64 in [0, num_train_timesteps).

    uniform     independent, over all timesteps
    stratified  one in each of `count` equal strata, in order; same mean, less variance
    high        independent, over the noisier half
    middle      independent, over the middle half
    """
    steps = num_train_timesteps
    uniform = torch.rand(count, generator=generator, dtype=torch.float64)
    if distribution == "stratified":
        uniform = (torch.arange(count, dtype=torch.float64) + uniform) / count
    elif distribution == "high":
        uniform = 0.5 + uniform / 2
    elif distribution == "middle":
        uniform = 0.25 + uniform / 2
    return (uniform * steps).long().clamp(0, steps - 1)


def weigh_losses(weighting: LossWeighting, kind: PredictionType, snr: torch.Tensor) -> torch.Tensor:
    """Return the weight of a squared error in the network's output space: (N,) float64.

    native   1
    min_snr  min(SNR, 5), carried from x0 to the output space (Hang et al. 2023)
    x0       what turns the output error into the error of x0: 1/SNR for epsilon, 1/(1 + SNR) for v, 1 for x0,
             sigma^2 = 1/(1 + sqrt(SNR))^2 for flow
    """
    to_x0 = {
        "epsilon": 1 / snr,
        "v_prediction": 1 / (1 + snr),
        "sample": torch.ones_like(snr),
        "flow": 1 / (1 + snr.sqrt()) ** 2,
    }[kind]
    if weighting == "native":
        return torch.ones_like(snr)
    if weighting == "x0":
        return to_x0
    return to_x0 * snr.clamp(max=5.0)

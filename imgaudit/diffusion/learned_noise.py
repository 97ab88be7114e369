"""A distribution of initial noise that was learned for one image, and how far it is from the usual one."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from imgaudit.diffusion.seeds import draw_noise


@dataclass(frozen=True)
class LearnedNoise:
    """N(mu, exp(logvar)) over the elements of one latent, which are independent.

    >>> usual = LearnedNoise(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2))
    >>> bool((usual.latents([5]) == draw_noise([5], (1, 2, 2))).all()), float(usual.divergence())
    (True, 0.0)
    """

    mu: torch.Tensor
    """(C, h, w) float32: mean."""
    logvar: torch.Tensor
    """(C, h, w) float32: logarithm of the variance."""

    def latents(self, seeds: Sequence[int]) -> torch.Tensor:
        """Return each seed's standard normal noise, scaled and moved: (len(seeds), C, h, w) float32.

        Under standard normal noise they are what the seeds give everywhere else.
        """
        channels, height, width = self.mu.shape
        return shift_noise(self.mu, self.logvar, draw_noise(seeds, (channels, height, width)).to(self.mu))

    def divergence(self) -> torch.Tensor:
        """Return the KL divergence per element, see :func:`kl_per_dimension`."""
        return kl_per_dimension(self.mu, self.logvar)


def shift_noise(mu: torch.Tensor, logvar: torch.Tensor, standard: torch.Tensor) -> torch.Tensor:
    """Return mu + exp(logvar / 2) * standard: standard normal noise turned into N(mu, exp(logvar)).

    Differentiable in mu and logvar.
    """
    return mu + (logvar / 2).exp() * standard


def kl_per_dimension(mu: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    """Return KL(N(mu, exp(logvar)) || N(0, 1)) in nats, averaged over the last three axes: the elements of a latent.

        mean( mu^2 + exp(logvar) - logvar - 1 ) / 2

    It is the mean and not the sum, so that latents of any size compare; the sum is the mean times the elements.

    mu, logvar:  (..., C, h, w) float
    Returns      (...) float, >= 0; 0 for standard normal noise, and the higher, the further from it

    >>> float(kl_per_dimension(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2)))
    0.0
    >>> float(kl_per_dimension(torch.ones(1, 2, 2), torch.zeros(1, 2, 2)))
    0.5
    """
    # exp(logvar) - 1 in one step: near 0 their difference would be lost in rounding, and come out below 0.
    return 0.5 * (mu.square() + logvar.expm1() - logvar).flatten(-3).mean(dim=-1)

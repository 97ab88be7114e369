"""Predictors that know no image: what a network has to be compared with before it can be said to work.

For latents x0 with mean m and variance V (over all elements), x_t = a x0 + s noise, the best linear guess of one number
from one number, and its mean squared error, are

    m + a V / (a^2 V + s^2) (x_t - a m)         V s^2 / (a^2 V + s^2)

The same for every coefficient of the discrete cosine transform, each with a variance P_k of its own, is the Wiener
filter, whose error is the mean over k of P_k s^2 / (a^2 P_k + s^2). It knows how natural images fall off towards fine
detail, and nothing else.
"""

import math

import numpy as np
import numpy.typing as npt
import torch
from scipy.fft import dctn, idctn


def scalar_error(variance: float, signal: float, noise: float) -> float:
    """Return the mean squared error of the best linear guess of clean latents, element by element.

    variance:  of the latents over all elements
    signal:    factor of the latents in noisy ones
    noise:     factor of the noise

    >>> round(scalar_error(1.0, 0.6, 0.8), 2)
    0.64
    """
    divisor = signal**2 * variance + noise**2
    return variance * noise**2 / divisor if divisor else math.nan


def cosine_variances(latents: torch.Tensor) -> npt.NDArray[np.float64]:
    """Return the variance of every cosine coefficient over images: (C, h, w), for latents (N, C, h, w)."""
    coefficients = dctn(latents.double().numpy(), axes=(2, 3), norm="ortho")
    return np.asarray(coefficients.var(axis=0), dtype=np.float64)


def wiener_error(variances: npt.NDArray[np.float64], signal: float, noise: float) -> float:
    """Return the mean squared error of the Wiener filter per element; lower than :func:`scalar_error`."""
    return float((variances * noise**2 / (signal**2 * variances + noise**2)).mean())


def draw_nested_noise(count: int, channels: int, side: int, largest: int, generator: torch.Generator) -> torch.Tensor:
    """Draw standard normal noise (count, channels, side, side) that agrees in its coarse parts for every side.

    Its cosine coefficients are the first of those of noise at the largest side. An orthonormal transform of standard
    normal numbers is standard normal; sizes that are compared thus get the same luck.

    largest:  side for which the generator is asked, at least `side`
    """
    coefficients = torch.randn((count, channels, largest, largest), generator=generator)[:, :, :side, :side]
    return torch.from_numpy(idctn(coefficients.double().numpy(), axes=(2, 3), norm="ortho")).float()

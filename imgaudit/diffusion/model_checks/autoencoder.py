"""The autoencoder: latents have about the spread of the noise, and images come back from them."""

import torch

from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.model_checks.images import make_check
from imgaudit.schema.model_checks import ModelCheck

SPREAD = (0.5, 2.0)
"""Accepted standard deviations of scaled latents; families scale them to about 1."""

MOST_LOSS = 0.8
"""Largest median of the error of decode(encode(image)), as a part of the image's own contrast.

At 1 a single grey says as much. Labs of 32 pixels have 0.25 to 0.33 on clip art and 0.6 on photographs.
"""


def check_autoencoder(
    denoiser: Denoiser, pixels: torch.Tensor, latents: torch.Tensor, executor: Executor
) -> list[ModelCheck]:
    """Return two checks: the spread of scaled latents, and what is lost when images are encoded and decoded.

    pixels:   (N, 3, R, R) float32 in [-1, 1]
    latents:  (N, C, h, w) float32, of these images
    """
    spread = float(latents.std())
    rendered = torch.cat(list(executor.slices(len(latents), lambda rows: denoiser.decode(latents[rows]))))
    contrast = pixels.flatten(1).std(dim=1).clamp(min=1e-6)
    loss = float(((rendered - pixels).square().flatten(1).mean(dim=1).sqrt() / contrast).median())
    return [
        make_check(
            "spread of latents", spread,
            f"the scaled latents of these images have a standard deviation of {spread:.2f}, and the noise one of 1; "
            "see scaling_factor in the autoencoder's config.json", *SPREAD,
        ),
        make_check(
            "loss of the autoencoder", loss,
            f"encoding and decoding loses {loss:.0%} of the contrast of the median image; see the autoencoder's "
            "config.json", high=MOST_LOSS,
        ),
    ]  # fmt: skip

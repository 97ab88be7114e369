"""A few generated images: a sampler that fits the model makes images whose contrast and detail are those of images."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.fft import dctn

from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.model_checks.autoencoder import SPREAD
from imgaudit.diffusion.model_checks.images import encode, make_check
from imgaudit.diffusion.seeds import draw_seed
from imgaudit.schema.model_checks import ModelCheck

MOST_SAMPLES = 4
"""Generated images; fewer where each takes many steps."""

MOST_EVALUATIONS = 100
"""Network evaluations that generated images may take; two images are made whatever they take."""

COARSE = (0.1, 10.0)
"""Accepted power of generated images in the two coarse bands, as a multiple of real ones'."""

FINE = (0.03, 10.0)
"""Accepted power of generated images in the finest band; other samplers of one model differ by a factor of 8."""

BANDS = 4
"""Bands of fineness in which power is compared, each twice as fine as the one before."""


def generate_samples(
    denoiser: Denoiser, prompts: Sequence[str], num_inference_steps: int, seed: int, executor: Executor
) -> torch.Tensor:
    """Generate images without guidance: (N, 3, R, R) float32 in [-1, 1], NaN where generation failed.

    prompts:  texts to generate for, in order; none stands for a condition that says nothing
    """
    count = max(2, min(MOST_SAMPLES, MOST_EVALUATIONS // num_inference_steps))
    seeds = [draw_seed(seed, "model checks", "sample", index) for index in range(count)]
    texts = [prompts[index % len(prompts)] for index in range(count)] if prompts else []
    conditions = denoiser.condition(texts) if texts else denoiser.start_condition().repeat(count)

    def sample(rows: slice) -> torch.Tensor:
        return denoiser.sample(
            conditions.select(torch.arange(count)[rows]), seeds[rows], guidance_scale=1.0,
            num_inference_steps=num_inference_steps,
        )  # fmt: skip

    return torch.cat(list(executor.slices(count, sample)))


def band_powers(images: torch.Tensor) -> np.ndarray:
    """Return the mean power of images per band of fineness, coarse to fine: (BANDS,), for (N, C, h, w).

    Band k holds cosine coefficients whose larger index is in [side / 2^(BANDS - k), side / 2^(BANDS - k - 1)), and the
    first also those below, without the mean.
    """
    side = images.shape[-1]
    power = np.square(dctn(images.double().numpy(), axes=(2, 3), norm="ortho")).mean(axis=(0, 1))
    index = np.maximum(*np.indices(power.shape))
    band = np.clip(np.floor(np.log2(np.maximum(index, 1) / side)) + BANDS, 0, BANDS - 1)
    return np.array([power[(band == number) & (index > 0)].mean() for number in range(BANDS)])


def check_samples(
    denoiser: Denoiser, samples: torch.Tensor, real: torch.Tensor, executor: Executor
) -> list[ModelCheck]:
    """Return checks of generated images against real ones.

    samples, real:  (N, 3, R, R) float32 in [-1, 1]
    """
    where = "see the scheduler in model_index.json and scheduler_config.json"
    lost = int((~torch.isfinite(samples).flatten(1).all(dim=1)).sum())
    if lost:
        sentence = f"{lost} of {len(samples)} generated images are not finite; {where}"
        return [make_check("generated images that are not finite", float(lost), sentence, high=0.0)]
    spread = float(encode(denoiser, samples, executor).std())
    powers = band_powers(samples) / band_powers(real)
    coarse, fine = float(powers[:2].mean()), float(powers[-1])
    return [
        make_check(
            "spread of generated latents", spread,
            f"the latents of generated images have a standard deviation of {spread:.2f}, and those of images about 1; "
            f"{where}", *SPREAD,
        ),
        make_check(
            "coarse detail of generated images", coarse,
            f"generated images have {coarse:.2g} times the coarse detail of real ones; {where}", *COARSE,
        ),
        make_check(
            "fine detail of generated images", fine,
            f"generated images have {fine:.2g} times the fine detail of real ones (far less is a blur, far more is "
            f"noise); {where}", *FINE,
        ),
    ]  # fmt: skip

"""Few-step models: what they say of pure noise is a whole image, and not the blur that diffusion models say."""

import torch

from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.model_checks.images import make_check
from imgaudit.diffusion.model_checks.predictors import cosine_variances
from imgaudit.schema.model_checks import ModelCheck

PART = 0.95
"""Timestep, as a part of the schedule."""

LEAST_DETAIL = 0.25
"""Smallest detail of one prediction, as a multiple of that of real latents: the mean over what is possible has hardly
any, and one image all of it."""


@torch.no_grad()
def check_few_steps(
    denoiser: Denoiser, latents: torch.Tensor, generator: torch.Generator, executor: Executor
) -> list[ModelCheck]:
    """Return one check: the detail of clean latents that are predicted from noise in one step.

    latents:  (N, C, h, w) float32, scaled, of real images
    """
    timestep = int(PART * denoiser.schedule.num_train_timesteps)
    noise = torch.randn(latents.shape, generator=generator)
    condition = denoiser.start_condition()

    def predict(rows: slice) -> torch.Tensor:
        timesteps = torch.full((len(noise[rows]),), timestep)
        return denoiser.predict(noise[rows], timesteps, condition.repeat(len(timesteps))).x0().cpu()

    said = cosine_variances(torch.cat(list(executor.slices(len(noise), predict))))
    real, half = cosine_variances(latents), latents.shape[-1] // 2
    detail = float(said[:, half:, half:].sum() / real[:, half:, half:].sum())
    return [
        make_check(
            "detail of one step from noise", detail,
            "the scheduler is for models that make an image in a few steps; what such a model predicts from noise has "
            f"the detail of images, and this one's prediction has {detail:.2g} times that; see the scheduler in "
            "model_index.json",
            low=LEAST_DETAIL,
        )
    ]  # fmt: skip

"""All checks of a model, with the same images and the same random draws whenever they are repeated."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.model_checks.autoencoder import check_autoencoder
from imgaudit.diffusion.model_checks.denoising import check_denoising, check_timesteps, measure_relative_errors
from imgaudit.diffusion.model_checks.few_steps import check_few_steps
from imgaudit.diffusion.model_checks.images import CheckImages, encode, make_check
from imgaudit.diffusion.model_checks.samples import check_samples, generate_samples
from imgaudit.diffusion.model_checks.schedule import check_schedule
from imgaudit.diffusion.model_checks.sizes import check_size
from imgaudit.diffusion.seeds import draw_seed
from imgaudit.exceptions import ImgauditError
from imgaudit.schema.model_checks import ModelCheck

DENOISED = 8
"""Images whose denoising errors are measured at every noise level."""


@dataclass(frozen=True)
class CheckPlan:
    """What is looked at, apart from the images."""

    num_inference_steps: int
    """Sampling steps of the audit."""
    seed: int
    """Seed of the run."""
    other_sides: Sequence[int] = ()
    """Sides of latents that the network may have been trained on, besides the declared one."""
    few_steps: bool = False
    """True where the scheduler is one of models that sample in a few steps."""


def check_model(denoiser: Denoiser, images: CheckImages, plan: CheckPlan, executor: Executor) -> list[ModelCheck]:
    """Check what a model does to real images; at most about 300 network evaluations.

    Raises MemoryShortageError when not even one image fits.
    """
    pixels = images.at(denoiser.resolution)
    latents = encode(denoiser, pixels, executor)

    def draws(purpose: str) -> torch.Generator:
        return torch.Generator("cpu").manual_seed(draw_seed(plan.seed, "model checks", purpose))

    checks = check_schedule(denoiser.schedule)
    checks += check_autoencoder(denoiser, pixels, latents, executor)
    few = latents[:DENOISED]
    checks += check_denoising(measure_relative_errors(denoiser, few, draws("denoising"), executor))
    checks += check_timesteps(denoiser, few, draws("timesteps"), executor)
    if plan.few_steps:
        checks += check_few_steps(denoiser, few, draws("few steps"), executor)
    if plan.other_sides:
        seed = draw_seed(plan.seed, "model checks", "sizes")
        checks += check_size(denoiser, images, plan.other_sides, seed, executor)
    return checks + _check_samples(denoiser, pixels, images, plan, executor)


def _check_samples(
    denoiser: Denoiser, pixels: torch.Tensor, images: CheckImages, plan: CheckPlan, executor: Executor
) -> list[ModelCheck]:
    try:
        samples = generate_samples(denoiser, images.prompts, plan.num_inference_steps, plan.seed, executor)
    except ImgauditError:
        raise
    except Exception as error:
        # Whatever a pipeline raises on a configuration that does not fit is what is looked for here.
        sentence = f"no image can be generated: {type(error).__name__}: {error}"[:300]
        return [make_check("generated images that are not finite", float("nan"), sentence, high=0.0)]
    return check_samples(denoiser, samples, pixels, executor)

"""Generation: fresh seeds under a condition, and the frames that cannot be scored."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from imgaudit.diffusion.denoiser import Denoiser, PromptEmbeds
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.learned_noise import LearnedNoise
from imgaudit.diffusion.seeds import draw_noise, draw_seed
from imgaudit.exceptions import ConfigError
from imgaudit.io.framing import find_unusable_reason


@dataclass(frozen=True)
class Generated:
    """One generated image."""

    seed: int
    """Seed of the CPU generator that drew its initial noise."""
    guidance_scale: float
    """Classifier-free guidance it was sampled with; 1 means none."""
    image: torch.Tensor
    """(3, H, W) float32 in [-1, 1]."""
    invalid: str | None
    """Reason why it cannot be scored (black, constant, not finite), or None."""


def require_steps(denoiser: Denoiser, num_inference_steps: int) -> None:
    """Check that a model can be sampled in so few steps. Raises ConfigError otherwise."""
    if num_inference_steps < denoiser.fewest_steps:
        raise ConfigError(
            f"this model's scheduler needs {denoiser.fewest_steps} sampling steps or more, but "
            f"--num-inference-steps is {num_inference_steps}"
        )


def draw_replica_seeds(run_seed: int, sha256: str, count: int, first: int = 0) -> list[int]:
    """Return the seeds number first .. first + count - 1 of an image.

    Rungs share them, so that rungs differ in the condition only.
    """
    return [draw_seed(run_seed, sha256, "replica", index) for index in range(first, first + count)]


def generate(
    denoiser: Denoiser,
    prompt_embeds: PromptEmbeds,
    seeds: Sequence[Sequence[int]],
    *,
    guidance_scale: float,
    num_inference_steps: int,
    executor: Executor,
    noise: Sequence[LearnedNoise | None] | None = None,
) -> Iterator[list[Generated]]:
    """Sample every seed of every image, batched over both; yields one list per image, in order.

    prompt_embeds:  one condition per image
    seeds:          per image, the seeds to sample
    noise:          per image, the distribution that its initial noise is from, where it is not the usual one
    """
    owner = torch.tensor([image for image, own in enumerate(seeds) for _ in own], dtype=torch.long)
    flat = [seed for own in seeds for seed in own]
    latents = None if noise is None else torch.cat([_latents(*one, denoiser) for one in zip(noise, seeds, strict=True)])

    def sample(rows: slice) -> torch.Tensor:
        return denoiser.sample(
            prompt_embeds.select(owner[rows]),
            flat[rows],
            guidance_scale=guidance_scale,
            num_inference_steps=num_inference_steps,
            latents=None if latents is None else latents[rows],
        )

    pending: list[Generated] = []
    image = 0
    for batch in executor.slices(len(flat), sample, each=2 if guidance_scale > 1 else 1):
        for frame in batch:
            # Eight bits from here on: what is scored is exactly what is saved and shown.
            frame = ((frame.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
            seed = seeds[image][len(pending)]
            pending.append(Generated(seed, guidance_scale, frame, find_unusable_reason(frame)))
            if len(pending) == len(seeds[image]):
                yield pending
                pending, image = [], image + 1


def _latents(noise: LearnedNoise | None, seeds: Sequence[int], denoiser: Denoiser) -> torch.Tensor:
    return draw_noise(seeds, denoiser.latent_shape) if noise is None else noise.latents(seeds)

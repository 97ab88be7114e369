"""The real images that a model is checked with, at any size."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image

from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.executor import Executor
from imgaudit.io.framing import to_batch
from imgaudit.schema.model_checks import ModelCheck
from imgaudit.schema.protocol import Framing

MOST_IMAGES = 16
"""Images that a model is checked with; more would cost more than they tell."""


@dataclass(frozen=True)
class CheckImages:
    """Real images, as they were read, and the way to fit them to the model's size."""

    pixels: Sequence[Image.Image]
    """RGB, 8 bit; at least one."""
    framing: Framing
    """Way to fit images that are not square."""
    prompts: Sequence[str] = ()
    """Texts that a few images are generated for; none stands for the empty prompt."""

    def at(self, resolution: int) -> torch.Tensor:
        """Return the images at a size: (N, 3, resolution, resolution) float32 in [-1, 1]."""
        return to_batch(self.pixels, resolution, self.framing)


def encode(denoiser: Denoiser, pixels: torch.Tensor, executor: Executor) -> torch.Tensor:
    """Return the latents of images in batches: (N, C, h, w) float32 on the CPU."""
    return torch.cat(list(executor.slices(len(pixels), lambda rows: denoiser.encode(pixels[rows]).cpu())))


def make_check(
    name: str,
    value: float,
    sentence: str,
    low: float | None = None,
    high: float | None = None,
    lower_bound: float | None = None,
) -> ModelCheck:
    """Return a check of a number against its band; one that is not finite fails.

    lower_bound:  of the number over images, where chance alone could take it out of the band: this bound then decides
    """
    decides = value if lower_bound is None else lower_bound
    passed = abs(value) < float("inf") and (low is None or decides >= low) and (high is None or decides <= high)
    return ModelCheck(
        name=name, value=value, low=low, high=high, lower_bound=lower_bound, passed=passed, sentence=sentence
    )  # fmt: skip

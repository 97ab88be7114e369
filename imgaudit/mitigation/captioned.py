"""An image and the prompt that asks for it: what mitigations are made from, and judged by."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Captioned:
    """An image and the prompt that asks for it."""

    sha256: str
    """Of the file: what draws depend on."""
    prompt: str
    """As it is given to the model."""
    image: torch.Tensor
    """(3, H, W) float32 in [-1, 1] at the model's resolution."""

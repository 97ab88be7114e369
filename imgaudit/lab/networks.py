"""The networks of a lab model that are trained together on latents, whatever family they are of."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL, DiffusionPipeline, FlowMatchEulerDiscreteScheduler
from torch.nn.functional import mse_loss
from transformers import PreTrainedTokenizerBase

Tokens = Mapping[str, torch.Tensor]
"""(captions, positions) int64 token ids, by the name of the text encoder that reads them; beside them a mask of 0 and 1
where the family does not show padding to its network."""

SHIFT = 3.0
"""Shift of the sigmas of flows, in training and in sampling: Stable Diffusion 3's own."""
TIMESTEPS = 1000
"""Number of timesteps of the schedule of flows."""
HEAD = 32
"""Width of an attention head of transformers."""


@dataclass(frozen=True)
class Batch:
    """N samples of a training step."""

    x0: torch.Tensor
    """(N, C, h, w) float32, latents scaled as the pipeline scales them."""
    noise: torch.Tensor
    """(N, C, h, w) float32, standard normal."""
    timesteps: torch.Tensor
    """(N,) int64."""
    tokens: Tokens
    """Tokens of N captions."""


class LabNetworks(ABC):
    """A denoising network and the text encoders it is trained with, untrained when made.

    `networks` has them by their names in the pipeline, in the order in which a checkpoint and the optimiser hold them.
    """

    networks: Mapping[str, torch.nn.Module]

    @abstractmethod
    def token_ids(self, captions: Sequence[str]) -> Tokens:
        """Make token ids as the pipeline does: padded and cut to the model's length."""

    @abstractmethod
    def draw_timesteps(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """(count,) int64 timesteps in 0..999, in the proportions the family is trained on."""

    @abstractmethod
    def predict(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the network's prediction and its training target: (N, C, h, w) float32 each."""

    def loss(self, batch: Batch) -> torch.Tensor:
        """Compute the family's training loss, a scalar to be minimised: the mean squared error of `predict`."""
        return mse_loss(*self.predict(batch))

    @abstractmethod
    def pipeline(self, vae: AutoencoderKL) -> DiffusionPipeline:
        """Build the pipeline that is saved, around these networks as they are now."""


class FlowNetworks(LabNetworks):
    """A network that predicts flows, the velocity noise - x0 on the straight path between image and noise."""

    @abstractmethod
    def predict_velocity(self, noisy: torch.Tensor, timesteps: torch.Tensor, tokens: Tokens) -> torch.Tensor:
        """Return the velocity (N, C, h, w) that the network predicts.

        noisy:      (N, C, h, w) float32, (1 - sigma) * x0 + sigma * noise
        timesteps:  (N,) int64; sigma is (timesteps + 1) / 1000
        """

    def draw_timesteps(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Logit-normal, then shifted (Esser et al. 2024): most where noise and image are of about equal strength."""
        drawn = torch.randn(count, generator=generator).sigmoid()
        sigmas = SHIFT * drawn / (1 + (SHIFT - 1) * drawn)
        return (sigmas * TIMESTEPS).round().long().clamp(1, TIMESTEPS) - 1

    def predict(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The velocity."""
        sigmas = ((batch.timesteps + 1) / TIMESTEPS).view(-1, 1, 1, 1)
        noisy = (1 - sigmas) * batch.x0 + sigmas * batch.noise
        return self.predict_velocity(noisy, batch.timesteps, batch.tokens), batch.noise - batch.x0


def build_flow_scheduler() -> FlowMatchEulerDiscreteScheduler:
    """Build the schedule of flows, with the shift that they are trained with."""
    return FlowMatchEulerDiscreteScheduler(num_train_timesteps=TIMESTEPS, shift=SHIFT)


def pad_tokens(tokenizer: PreTrainedTokenizerBase, captions: Sequence[str]) -> torch.Tensor:
    """(captions, positions) int64: padded and cut to the tokenizer's length."""
    ids: torch.Tensor = tokenizer(
        list(captions), padding="max_length", max_length=tokenizer.model_max_length, truncation=True,
        return_tensors="pt",
    ).input_ids  # fmt: skip
    return ids

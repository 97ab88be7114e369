"""Transformers that read text under a padding mask: PixArt and Sana, which attend to it across."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast

import torch

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.models.families.transformer import TransformerDenoiser, spread_rows


class MaskedTextDenoiser(TransformerDenoiser):
    """A pipeline whose prompts are the stream "text", and a "mask" that rides along and says which rows are seen."""

    max_sequence_length = 300
    # Squares of the native size are what the nearest size would be, where the pipeline knows any.
    sampling_options = MappingProxyType({"use_resolution_binning": False, "negative_prompt": None})

    def _side(self, pipeline: Any) -> int:
        return cast(int, pipeline.transformer.config.sample_size)

    def start_condition(self) -> PromptEmbeds:
        """Return the empty prompt as a condition that can be inverted in every row.

        Padding hides all but one row of it, so that row is copied over the hidden ones, and the mask hides nothing.
        Text is attended to without positions, and attention over copies of a row is attention over that row: the
        network answers nearly as it does to the empty prompt, and would exactly if the copies were not set apart.
        """
        # Sana puts an instruction before the empty prompt of `unmasked_condition`, and none before this one.
        empty = _show_every_row(self.null_condition())
        return empty.with_streams({"text": spread_rows(empty.streams["text"])})

    def unmasked_condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Encode prompts with every row seen: their last row is copied over those that padding hides."""
        return _show_every_row(self.condition(prompts))

    @abstractmethod
    def _timesteps(self, timesteps: torch.Tensor) -> torch.Tensor:
        """Return timesteps as the network counts them."""

    def _call(self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds) -> torch.Tensor:
        output = self.pipeline.transformer(
            noisy,
            encoder_hidden_states=prompt_embeds.streams["text"],
            encoder_attention_mask=prompt_embeds.extras["mask"],
            timestep=self._timesteps(timesteps),
            **self._inputs(noisy),
        ).sample
        # A network that also predicts the variance has it in the second half of its channels.
        return cast(torch.Tensor, output[:, : noisy.shape[1]])

    def _inputs(self, noisy: torch.Tensor) -> Mapping[str, Any]:
        """Return what else the network takes with latents (N, C, h, w)."""
        return {}

    def _prompt_arguments(self, prompt_embeds: PromptEmbeds) -> dict[str, torch.Tensor]:
        return {
            "prompt_embeds": prompt_embeds.streams["text"],
            "prompt_attention_mask": prompt_embeds.extras["mask"],
        }


def _show_every_row(masked: PromptEmbeds) -> PromptEmbeds:
    """Return conditions that hide nothing: the last row that each shows is copied over those that it hides."""
    text, mask = masked.streams["text"], masked.extras["mask"]
    return PromptEmbeds({"text": fill_hidden_rows(text, mask)}, masked.free, {"mask": torch.ones_like(mask)})


def fill_hidden_rows(text: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Copy the last row that each mask shows over those that it hides.

    text:  (N, tokens, width) float
    mask:  (N, tokens) of 0 and 1
    """
    last = [max(row.nonzero()[:, 0].tolist(), default=0) for row in mask]
    return torch.where(mask.bool()[:, :, None], text, text[torch.arange(len(text)), last][:, None])


def build_masked_condition(text: torch.Tensor, mask: torch.Tensor, first_is_free: bool) -> PromptEmbeds:
    """Return conditions of text encoder states (N, tokens, width) and their mask, (N, tokens) of 0 and 1."""
    free = torch.ones(text.shape[1], dtype=torch.bool)
    free[0] = first_is_free
    return PromptEmbeds({"text": text.float()}, {"text": free}, {"mask": mask})

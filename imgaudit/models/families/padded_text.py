"""Transformers in which text and image attend to each other, and text is filled up with rows that nobody sees."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

import torch

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.models.families.transformer import TransformerDenoiser


class PaddedTextDenoiser(TransformerDenoiser):
    """A pipeline whose prompts are the stream "text" of one length, and a "mask" that says which rows are seen.

    Text and image attend to each other, so a row more would be another condition: free are the rows that the empty
    prompt shows, those of a template around it.
    """

    max_sequence_length = 512
    empty_prompt: ClassVar[str] = ""
    """Prompt that the model's makers guide away from."""

    @abstractmethod
    def _encode(self, prompts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (N, tokens, width) states and (N, tokens) mask of 0 and 1, of one length for all prompts."""

    @cached_property
    def _shown_by_none(self) -> torch.Tensor:
        """Return (tokens,) bool: the rows that the empty prompt shows."""
        return self._encode([self.empty_prompt])[1][0].bool().cpu()

    def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Encode as the pipeline does; free are the rows that the empty prompt shows."""
        text, mask = self._encode(prompts)
        return PromptEmbeds({"text": text}, {"text": self._shown_by_none}, {"mask": mask})

    def unmasked_condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Encode prompts and keep the rows that the empty prompt shows, since one row more is another condition."""
        whole, mask = self.condition(prompts), self.null_condition().extras["mask"]
        text = torch.where(mask.bool()[:, :, None], whole.streams["text"], 0)
        return PromptEmbeds(
            {**whole.streams, "text": text}, whole.free, {**whole.extras, "mask": mask.expand(len(text), -1)}
        )

    def _seen(self, prompt_embeds: PromptEmbeds) -> tuple[torch.Tensor, torch.Tensor]:
        """Return states and mask up to the last row that a prompt shows."""
        text, mask = prompt_embeds.streams["text"], prompt_embeds.extras["mask"]
        longest = int(mask.sum(dim=1).max())
        return text[:, :longest], mask[:, :longest]

    def null_condition(self) -> PromptEmbeds:
        """Return the empty prompt, which the pipeline guides away from."""
        return self.condition([self.empty_prompt])


def fill_up(text: torch.Tensor, mask: torch.Tensor | None, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return states (N, tokens, width) and their mask (N, tokens) filled up with zeros, or cut, to a length.

    mask:  of 0 and 1; None where every row is seen. What it hides becomes zeros.
    """
    mask = torch.ones(text.shape[:2], dtype=torch.long, device=text.device) if mask is None else mask.long()
    shown = torch.where(mask.bool()[:, :, None], text.float(), 0)
    hidden = length - text.shape[1]
    return torch.nn.functional.pad(shown, (0, 0, 0, hidden)), torch.nn.functional.pad(mask, (0, hidden))

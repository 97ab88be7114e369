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
        return PromptEmbeds({"text": text}, whole.free, {"mask": mask.expand(len(text), -1)})

    def null_condition(self) -> PromptEmbeds:
        """Return the empty prompt, which the pipeline guides away from."""
        return self.condition([self.empty_prompt])

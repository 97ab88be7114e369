"""Pipelines that leave hardly anything of a template around a prompt: their inversions start from more rows."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property

import torch

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.families.padded_text import PaddedTextDenoiser
from imgaudit.models.families.transformer import spread_rows

START_ROWS = 16
"""Rows that inversions and sums of texts show: those of a short caption. An empty prompt has the template's last token
only, whose single row could neither be inverted nor hold a text."""


class ShortTemplateDenoiser(PaddedTextDenoiser):
    """A pipeline whose empty prompt shows a row or so; free are the first rows, whether a prompt shows them or not."""

    @property
    @abstractmethod
    def _around(self) -> int:
        """Tokens of the template that the pipeline leaves around a prompt."""

    def _refuse_tokenizer(self) -> None:
        if self._around < 1:
            raise ModelRefusedError(
                "the tokenizer makes fewer tokens of the template around a prompt than the pipeline cuts from its start"
            )

    @cached_property
    def _shown_by_none(self) -> torch.Tensor:
        return torch.arange(self.max_sequence_length) < START_ROWS

    def start_condition(self) -> PromptEmbeds:
        """Return the empty prompt with copies of its last row, set apart, and no row of them hidden."""
        start = self._show_first_rows(self.null_condition())
        text = start.streams["text"].clone()
        text[:, :START_ROWS] = spread_rows(text[:, :START_ROWS])
        return start.with_streams({**start.streams, "text": text})

    def unmasked_condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Encode prompts and show as many rows of each as at the start, the last one again where there are fewer."""
        return self._show_first_rows(self.condition(prompts))

    def _show_first_rows(self, whole: PromptEmbeds) -> PromptEmbeds:
        text, mask = whole.streams["text"], whole.extras["mask"]
        last = text[torch.arange(len(text)), mask.sum(dim=1) - 1]
        filled = torch.where(mask.bool()[:, :, None], text, last[:, None])
        shown = self._shown_by_none.to(text.device)
        streams = {**whole.streams, "text": torch.where(shown[:, None], filled, 0)}
        return PromptEmbeds(streams, whole.free, {**whole.extras, "mask": shown.to(mask).expand(len(text), -1)})

"""Transformers whose prompts are read within a chat template, and filled up with rows that nobody sees."""

from collections.abc import Sequence

import torch
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.models.families.chat_text import ChatTextDenoiser
from imgaudit.models.families.padded_text import PaddedTextDenoiser


class PaddedChatDenoiser(ChatTextDenoiser, PaddedTextDenoiser):
    """A pipeline with a chat template around its prompts; free are the template's rows, which have read the prompt."""

    def unmasked_condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Encode prompts and keep the rows of the template alone, as many as of the empty prompt.

        Those at its end have read the prompt, and a row more would be another condition.
        """
        whole, start = self.condition(prompts), self.null_condition()
        text, lengths = whole.streams["text"], whole.extras["mask"].sum(dim=1)
        places = torch.arange(text.shape[1], device=text.device).expand(len(text), -1)
        shown = int(start.extras["mask"].sum())
        moved = places + torch.where(places < self._tokens_before, 0, lengths[:, None] - shown)
        rows = text.gather(1, moved.clamp(max=text.shape[1] - 1)[:, :, None].expand_as(text))
        mask = start.extras["mask"].expand(len(text), -1)
        return PromptEmbeds({"text": torch.where(mask.bool()[:, :, None], rows, 0)}, whole.free, {"mask": mask})


def fill_up_rows(listed: Sequence[torch.Tensor], length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return states of several lengths, each (tokens, width), as one (N, length, width) tensor and its mask.

    The mask is (N, length) of 0 and 1. Longer states are cut, and shorter ones filled up with zeros.
    """
    text = pad_sequence([each[:length] for each in listed], batch_first=True).float()
    text = pad(text, (0, 0, 0, length - text.shape[1]))
    lengths = torch.tensor([min(len(each), length) for each in listed], device=text.device)
    return text, (torch.arange(length, device=text.device) < lengths[:, None]).long()

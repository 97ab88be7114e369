"""Transformers and pipelines to which a prompt is another one beside others: prompts are passed on in groups."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import torch

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.models.families.transformer import TransformerDenoiser


class GroupedDenoiser(TransformerDenoiser):
    """A pipeline that makes another image of a prompt beside some prompts than alone; it is given those of one kind."""

    @abstractmethod
    def _kinds(self, prompt_embeds: PromptEmbeds) -> torch.Tensor:
        """Return the kind of each condition, (N,) int64."""

    def sample(
        self,
        prompt_embeds: PromptEmbeds,
        seeds: Sequence[int],
        *,
        guidance_scale: float,
        num_inference_steps: int,
        latents: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Call the pipeline once for each kind of conditions; images on the CPU."""
        places, images = [], []
        for _, rows in split_rows(self._kinds(prompt_embeds)):
            places.append(rows)
            images.append(
                super().sample(
                    prompt_embeds.select(rows), [seeds[row] for row in rows.tolist()], guidance_scale=guidance_scale,
                    num_inference_steps=num_inference_steps,
                    latents=None if latents is None else latents[rows.to(latents.device)],
                )
            )  # fmt: skip
        return torch.cat(images)[torch.cat(places).argsort()]


class OwnLengthDenoiser(GroupedDenoiser):
    """A pipeline in which a prompt that is filled up to the length of a longer one makes another image than alone.

    Either padding is not hidden, or the image's place is counted from the end of it. Prompts of one length are passed
    on together, and others apart, so that what is measured of a prompt does not depend on those beside it.
    """

    def _kinds(self, prompt_embeds: PromptEmbeds) -> torch.Tensor:
        return prompt_embeds.extras["mask"].sum(dim=1)

    @abstractmethod
    def _call_alike(
        self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds, length: int
    ) -> torch.Tensor:
        """One pass of the network as `_call` makes it, for conditions that show their first `length` rows."""

    def _call(self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds) -> torch.Tensor:
        places, outputs = [], []
        for length, rows in split_rows(self._kinds(prompt_embeds)):
            rows = rows.to(noisy.device)
            places.append(rows)
            outputs.append(self._call_alike(noisy[rows], timesteps[rows], prompt_embeds.select(rows), length))
        return torch.cat(outputs)[torch.cat(places).argsort()]


def split_rows(kinds: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield each value of (N,) integers and the places where it stands, (n,) int64 on the CPU.

    >>> [(kind, rows.tolist()) for kind, rows in split_rows(torch.tensor([7, 5, 7]))]
    [(5, [1]), (7, [0, 2])]
    """
    kinds = kinds.cpu()
    for kind in kinds.unique().tolist():
        yield int(kind), (kinds == kind).nonzero()[:, 0]

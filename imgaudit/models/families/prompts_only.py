"""Pipelines whose call takes prompts and no embeddings in their place: conditions are handed to them all the same."""

from abc import abstractmethod
from typing import Any

import torch

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.models.families.latent import LatentDenoiser


class GivenConditions(list[str]):
    """As many prompts as there are conditions, which take their place when the pipeline encodes them."""

    def __init__(self, prompt_embeds: PromptEmbeds) -> None:
        super().__init__([""] * len(prompt_embeds))
        self.prompt_embeds = prompt_embeds


class PromptsOnlyDenoiser(LatentDenoiser):
    """A pipeline that asks its own `encode_prompt` for everything it knows of prompts.

    `GivenConditions` are what its call is given as prompts; for them `encode_prompt` returns `_encoded`. It encodes
    all others as before.
    """

    def __init__(self, pipeline: Any, fingerprint: str, device: torch.device | str = "cpu") -> None:
        """Freeze a pipeline and move it to a device. Raises ModelRefusedError as adapters of its kind do."""
        super().__init__(pipeline, fingerprint, device)
        encode = pipeline.encode_prompt

        def encode_prompt(prompt: Any, *arguments: Any, **keywords: Any) -> Any:
            if isinstance(prompt, GivenConditions):
                return self._encoded(prompt.prompt_embeds, *arguments, **keywords)
            return encode(prompt, *arguments, **keywords)

        pipeline.encode_prompt = encode_prompt

    @abstractmethod
    def _encoded(self, prompt_embeds: PromptEmbeds, *arguments: Any, **keywords: Any) -> Any:
        """Return conditions as the pipeline's `encode_prompt` would, which has the same further arguments."""

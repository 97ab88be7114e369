"""PixArt-Sigma: T5's states under a padding mask, predicting noise."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.schedules import NoiseSchedule, Schedule
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.families.masked_text import MaskedTextDenoiser, build_masked_condition


class PixArtDenoiser(MaskedTextDenoiser):
    """A PixArtSigmaPipeline as a Denoiser.

    The pipeline lower-cases prompts; it is told not to clean them of HTML as well, for which it would need two more
    libraries.
    """

    prediction_type = "epsilon"

    def _read_schedule(self, scheduler: Any) -> Schedule:
        kind = scheduler.config.get("prediction_type", "epsilon")
        if kind != "epsilon" or not hasattr(scheduler, "alphas_cumprod"):
            raise ModelRefusedError(
                f"the scheduler is {type(scheduler).__name__} with prediction_type {kind!r:.80}; PixArt-Sigma predicts "
                "epsilon under a schedule of alphas"
            )
        return NoiseSchedule(scheduler.alphas_cumprod.double().cpu())

    @torch.no_grad()
    def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Encode as the pipeline does; all positions are free, as T5 has no BOS."""
        text, mask, _, _ = self.pipeline.encode_prompt(
            prompt=list(prompts), do_classifier_free_guidance=False, num_images_per_prompt=1, device=self.device,
            clean_caption=False, max_sequence_length=self.max_sequence_length,
        )  # fmt: skip
        return build_masked_condition(text, mask, first_is_free=True)

    def _text_lengths(self) -> Mapping[str, tuple[Any, int]]:
        return {"text_encoder": (self.pipeline.tokenizer, self.max_sequence_length)}

    def _timesteps(self, timesteps: torch.Tensor) -> torch.Tensor:
        return timesteps

    def _inputs(self) -> Mapping[str, Any]:
        return {"added_cond_kwargs": {"resolution": None, "aspect_ratio": None}}

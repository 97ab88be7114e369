"""Sana: Gemma's states under a padding mask, an autoencoder without a distribution, predicting flows."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from diffusers import DPMSolverMultistepScheduler

from imgaudit.denoiser import PromptEmbeds
from imgaudit.models.masked_text import MaskedTextDenoiser, masked
from imgaudit.schedules import FlowSchedule, Schedule


class SanaDenoiser(MaskedTextDenoiser):
    """A SanaPipeline as a Denoiser.

    Prompts follow the instruction that the pipeline puts before them by default, of which BOS and the last token remain
    visible; the empty prompt that it guides away from follows none.
    """

    def _read_schedule(self, scheduler: Any) -> Schedule:
        config = scheduler.config
        is_flow = config.get("use_flow_sigmas") and config.get("prediction_type") == "flow_prediction"
        if isinstance(scheduler, DPMSolverMultistepScheduler) and is_flow:
            return FlowSchedule(int(config.num_train_timesteps))
        return super()._read_schedule(scheduler)

    @torch.no_grad()
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """The only latents that an image has, scaled: (N, C, h, w) float32."""
        vae, (scale, shift) = self.pipeline.vae, self._factors()
        latents = vae.encode(images.to(self.device, vae.dtype)).latent
        return cast(torch.Tensor, (latents - shift) * scale).float()

    @property
    def _instruction(self) -> list[str]:
        """What the pipeline's call puts before a prompt when it is not told otherwise."""
        parameters = inspect.signature(type(self.pipeline).__call__).parameters
        return cast(list[str], parameters["complex_human_instruction"].default)

    @torch.no_grad()
    def _encode(self, prompts: Sequence[str], instruction: list[str] | None) -> PromptEmbeds:
        text, mask, _, _ = self.pipeline.encode_prompt(
            prompt=list(prompts), do_classifier_free_guidance=False, num_images_per_prompt=1, device=self.device,
            clean_caption=False, max_sequence_length=self.max_sequence_length, complex_human_instruction=instruction,
        )  # fmt: skip
        return masked(text, mask, first_is_free=False)

    def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """The pipeline's own text encoding; all but the first position (BOS) free."""
        return self._encode(prompts, self._instruction)

    def null_condition(self) -> PromptEmbeds:
        """The empty prompt, without the instruction and under its mask, which the pipeline guides away from."""
        return self._encode([""], None)

    def _text_lengths(self) -> Mapping[str, tuple[Any, int]]:
        # Of the instruction BOS and one token take two places, and each prompt is counted with a BOS of its own.
        return {"text_encoder": (self.pipeline.tokenizer, self.max_sequence_length - 1)}

    def _timesteps(self, timesteps: torch.Tensor) -> torch.Tensor:
        return (timesteps + 1) * self.pipeline.transformer.config.timestep_scale

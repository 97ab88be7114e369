"""Sana: Gemma's states under a padding mask, an autoencoder without a distribution, predicting flows."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from diffusers import DPMSolverMultistepScheduler

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.schedules import FlowSchedule, Schedule
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.families.flow_solver import refuse_dynamic_shift, refuse_other_paths
from imgaudit.models.families.masked_text import MaskedTextDenoiser, build_masked_condition


class SanaDenoiser(MaskedTextDenoiser):
    """A SanaPipeline as a Denoiser.

    Prompts follow the instruction that the pipeline puts before them by default, of which BOS and the last token remain
    visible; the empty prompt that it guides away from follows none.
    """

    def __init__(self, pipeline: Any, fingerprint: str, device: torch.device | str = "cpu") -> None:
        """Freeze a pipeline and move it to a device.

        Raises ModelRefusedError as the other transformers do, and for a tokenizer that puts no BOS before prompts, or
        makes more of the instruction than the text encoder reads.
        """
        super().__init__(pipeline, fingerprint, device)
        self._refuse_tokenizer()

    def _refuse_tokenizer(self) -> None:
        tokenizer, positions = self.pipeline.tokenizer, self.pipeline.text_encoder.config.max_position_embeddings
        if tokenizer("").input_ids != [tokenizer.bos_token_id]:
            raise ModelRefusedError(
                f"the tokenizer makes {tokenizer('').input_ids!r:.80} of an empty prompt, not a BOS"
            )
        length = len(tokenizer("\n".join(self._instruction)).input_ids) + self.max_sequence_length - 2
        if length > positions:
            raise ModelRefusedError(
                f"the tokenizer makes {length:,} tokens of a prompt with its instruction, but the text encoder reads "
                f"{positions:,}"
            )

    def _read_schedule(self, scheduler: Any) -> Schedule:
        refuse_dynamic_shift(scheduler)
        if isinstance(scheduler, DPMSolverMultistepScheduler):
            refuse_other_paths(scheduler, "DPM-Solver")
            return FlowSchedule(int(scheduler.config.num_train_timesteps))
        return super()._read_schedule(scheduler)

    def _encode_raw(self, vae: Any, images: torch.Tensor) -> torch.Tensor:
        # This autoencoder has no distribution.
        return cast(torch.Tensor, vae.encode(images).latent)

    @property
    def _instruction(self) -> list[str]:
        """The lines that the pipeline's call puts before a prompt by default."""
        parameters = inspect.signature(type(self.pipeline).__call__).parameters
        return cast(list[str], parameters["complex_human_instruction"].default)

    @torch.no_grad()
    def _encode(self, prompts: Sequence[str], instruction: list[str] | None) -> PromptEmbeds:
        text, mask, _, _ = self.pipeline.encode_prompt(
            prompt=list(prompts), do_classifier_free_guidance=False, num_images_per_prompt=1, device=self.device,
            clean_caption=False, max_sequence_length=self.max_sequence_length, complex_human_instruction=instruction,
        )  # fmt: skip
        return build_masked_condition(text, mask, first_is_free=False)

    def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Encode as the pipeline does; all but the first position (BOS) free."""
        return self._encode(prompts, self._instruction)

    def null_condition(self) -> PromptEmbeds:
        """Return the empty prompt, without the instruction and under its mask, which the pipeline guides away from."""
        return self._encode([""], None)

    def _text_lengths(self) -> Mapping[str, tuple[Any, int]]:
        # Of the instruction BOS and one token take two places, and each prompt is counted with a BOS of its own.
        return {"text_encoder": (self.pipeline.tokenizer, self.max_sequence_length - 1)}

    def _timesteps(self, timesteps: torch.Tensor) -> torch.Tensor:
        return (timesteps + 1) * self.pipeline.transformer.config.timestep_scale

"""Lumina-Image 2.0: Gemma's last state but one under a mask, and flows with their sign turned."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.families.masked_text import MaskedTextDenoiser, build_masked_condition

PROMPT_START = " <Prompt Start> "
"""Text that the pipeline puts between its instruction and a prompt."""


class Lumina2Denoiser(MaskedTextDenoiser):
    """A Lumina2Pipeline as a Denoiser.

    Prompts follow the pipeline's instruction; the empty prompt that it guides away from follows none. Text and image
    are one sequence, in which the image's place is after the rows of text that the mask shows: where an inversion
    starts, after all of them.
    """

    max_sequence_length = 256
    sampling_options = MappingProxyType({})

    def __init__(self, pipeline: Any, fingerprint: str, device: torch.device | str = "cpu") -> None:
        """Freeze a pipeline and move it to a device.

        Raises ModelRefusedError as the other transformers do, for a tokenizer that puts no BOS before prompts or makes
        more of the instruction than there is room for, and for a network without places for text and image.
        """
        super().__init__(pipeline, fingerprint, device)
        self._refuse_tokenizer()

    def _refuse_tokenizer(self) -> None:
        tokenizer = self.pipeline.tokenizer
        if tokenizer("").input_ids != [tokenizer.bos_token_id]:
            raise ModelRefusedError(
                f"the tokenizer makes {tokenizer('').input_ids!r:.80} of an empty prompt, not a BOS"
            )
        if self._around >= self.max_sequence_length - 1:
            raise ModelRefusedError(
                f"the tokenizer makes {self._around:,} tokens of the instruction before prompts, but the pipeline "
                f"reads {self.max_sequence_length} of both together"
            )

    def _refuse_sizes(self, pipeline: Any) -> None:
        super()._refuse_sizes(pipeline)
        config = pipeline.transformer.config
        # The image's place in the first of three axes is after the text.
        needed = (self.max_sequence_length + 1, *[self._side(pipeline) // config.patch_size] * 2)
        there = config.axes_lens
        if len(there) != 3 or any(places < least for places, least in zip(there, needed, strict=True)):
            raise ModelRefusedError(
                f"the transformer's axes_lens is {there!r:.80}; expected three numbers, at least {needed}: "
                "the places of text and image"
            )

    @property
    def _around(self) -> int:
        """Tokens of the instruction before a prompt, besides BOS."""
        # A word in both: tokenizers join it with the space before it.
        tokenizer = self.pipeline.tokenizer
        return len(tokenizer(f"{self.pipeline.system_prompt}{PROMPT_START}a").input_ids) - len(tokenizer("a").input_ids)

    @torch.no_grad()
    def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Encode as the pipeline does; all but the first position (BOS) free."""
        text, mask, _, _ = self.pipeline.encode_prompt(
            prompt=list(prompts), do_classifier_free_guidance=False, num_images_per_prompt=1, device=self.device,
            max_sequence_length=self.max_sequence_length,
        )  # fmt: skip
        return build_masked_condition(text, mask, first_is_free=False)

    @torch.no_grad()
    def null_condition(self) -> PromptEmbeds:
        """Return the empty prompt, without the instruction and under its mask, which the pipeline guides away from."""
        text, mask = self.pipeline._get_gemma_prompt_embeds([""], self.device, self.max_sequence_length)
        return build_masked_condition(text, mask, first_is_free=False)

    def _text_lengths(self) -> Mapping[str, tuple[Any, int]]:
        return {"text_encoder": (self.pipeline.tokenizer, self.max_sequence_length - self._around)}

    def _timesteps(self, timesteps: torch.Tensor) -> torch.Tensor:
        # From noise to image, where the schedule counts the other way.
        return 1 - (timesteps + 1) / self.pipeline.scheduler.config.num_train_timesteps

    def _call(self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds) -> torch.Tensor:
        return -super()._call(noisy, timesteps, prompt_embeds)

"""Chroma: FLUX.1 without CLIP and with guidance by a null, T5's states under a mask that weighs padding down."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.models.families.transformer import PackedDenoiser, mark_all_free, refuse_no_shift, spread_rows


class ChromaDenoiser(PackedDenoiser):
    """A ChromaPipeline as a Denoiser.

    Stream: "text", T5's states; the "mask" that rides along is 1 for those of the prompt and of one token of padding.
    diffusers adds it to what attention compares, so that the padding counts for less instead of not at all: the rows
    under it are seen, and are inverted as FLUX.1's are.
    """

    max_sequence_length = 512

    def _refuse_sizes(self, pipeline: Any) -> None:
        refuse_no_shift(pipeline)
        super()._refuse_sizes(pipeline)

    @torch.no_grad()
    def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Encode as the pipeline does; all positions are free, as T5 has no BOS."""
        text, _, mask, *_ = self.pipeline.encode_prompt(
            prompt=list(prompts), device=self.device, num_images_per_prompt=1, do_classifier_free_guidance=False,
            max_sequence_length=self.max_sequence_length,
        )  # fmt: skip
        [free] = mark_all_free(text)
        return PromptEmbeds({"text": text.float()}, {"text": free}, {"mask": mask.long()})

    def unmasked_condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Encode prompts under a mask that weighs all rows alike."""
        masked = self.condition(prompts)
        return PromptEmbeds(masked.streams, masked.free, {"mask": torch.ones_like(masked.extras["mask"])})

    def start_condition(self) -> PromptEmbeds:
        """Return the empty prompt under a mask that weighs all rows alike, with the rows of padding moved apart."""
        empty = self.unmasked_condition([""])
        return empty.with_streams({"text": spread_rows(empty.streams["text"])})

    def _text_lengths(self) -> Mapping[str, tuple[Any, int]]:
        return {"text_encoder": (self.pipeline.tokenizer, self.max_sequence_length)}

    def _token_rows(self) -> Mapping[str, str]:
        return {"text": "text_encoder"}

    def spare_memory(self) -> bool:
        """Return False: with checkpoints diffusers leaves the mask out in half of the blocks, which changes results."""
        return False

    def _call(self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds) -> torch.Tensor:
        height, width = noisy.shape[-2:]
        packed, text = self._packed(noisy), prompt_embeds.streams["text"]
        output = self.pipeline.transformer(
            hidden_states=packed,
            timestep=self._sigmas(timesteps, noisy.dtype),
            encoder_hidden_states=text,
            txt_ids=text.new_zeros(text.shape[1], 3),
            img_ids=self.pipeline._prepare_latent_image_ids(1, height // 2, width // 2, self.device, noisy.dtype),
            attention_mask=self.pipeline._prepare_attention_mask(
                len(packed), packed.shape[1], noisy.dtype, prompt_embeds.extras["mask"].to(noisy.dtype)
            ),
        ).sample
        return self._unpacked(output, height, width)

    def _prompt_arguments(self, prompt_embeds: PromptEmbeds) -> dict[str, torch.Tensor]:
        text = prompt_embeds.streams["text"]
        return {"prompt_embeds": text, "prompt_attention_mask": prompt_embeds.extras["mask"].to(text.dtype)}

"""FLUX.1 dev and schnell: T5's states and CLIP's pooled vector, latents packed two by two, guidance as an input."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.models.families.mixed_words import MixedWordsDenoiser
from imgaudit.models.families.transformer import GUIDANCE_DISTILLED, PackedDenoiser, mark_all_free, spread_rows

GUIDANCE = 1.0
"""Guidance embedded when errors are measured: the scale at which a guidance-distilled network imitates its teacher's
conditional prediction, whose target is noise - x0. At any other it imitates a prediction that overshoots the target."""

SCHNELL_SEQUENCE_LENGTH = 256
"""Tokens of T5 that the step-distilled model was trained with; the others have diffusers' 512."""


class FluxDenoiser(MixedWordsDenoiser, PackedDenoiser):
    """A FluxPipeline as a Denoiser; outside of it latents are unpacked, (N, C, h, w).

    Streams: "text", T5's states; and "pooled", CLIP's vector as one token. `guidance_scale` is the embedded one, which
    costs no second pass; schnell's network takes none, and it then changes nothing.
    """

    @property
    def is_guided_by_null(self) -> bool:
        """False: the scale is embedded, or ignored."""
        return False

    @property
    def max_sequence_length(self) -> int:  # type: ignore[override]
        """512 tokens, and 256 for schnell."""
        return 512 if self._embeds_guidance else SCHNELL_SEQUENCE_LENGTH

    @property
    def _embeds_guidance(self) -> bool:
        return bool(self.pipeline.transformer.config.guidance_embeds)

    @property
    def no_null(self) -> str:
        """Both are distilled; they are told apart by whether the transformer embeds the guidance scale."""
        if self._embeds_guidance:
            return GUIDANCE_DISTILLED
        return (
            "the model samples in a few steps (a FLUX transformer without guidance, as schnell): it is distilled and "
            "has no null branch"
        )

    @torch.no_grad()
    def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Encode as the pipeline does; all positions are free, as T5 has no BOS."""
        embeds, pooled, _ = self.pipeline.encode_prompt(
            prompt=list(prompts), device=self.device, num_images_per_prompt=1,
            max_sequence_length=self.max_sequence_length,
        )  # fmt: skip
        return self._embeds(embeds, pooled)

    def condition_words(self, weights: torch.Tensor) -> PromptEmbeds:
        """Encode the same mixtures through both text encoders."""
        clip, t5 = self._encode_words(weights)
        return self._embeds(t5[0], clip.pooler_output)

    def _embeds(self, text: torch.Tensor, pooled: torch.Tensor) -> PromptEmbeds:
        """Return conditions of T5's states (N, tokens, width) and CLIP's vectors (N, width)."""
        streams = {"text": text.float(), "pooled": pooled.float()[:, None]}
        return PromptEmbeds(streams, dict(zip(streams, mark_all_free(*streams.values()), strict=True)))

    def start_condition(self) -> PromptEmbeds:
        """Return the empty prompt, with the rows of T5's padding moved apart."""
        null = self.null_condition()
        return null.with_streams({**null.streams, "text": spread_rows(null.streams["text"])})

    def _text_lengths(self) -> Mapping[str, tuple[Any, int]]:
        return {
            "text_encoder": (self.pipeline.tokenizer, int(self.pipeline.tokenizer_max_length)),
            "text_encoder_2": (self.pipeline.tokenizer_2, self.max_sequence_length),
        }

    def _token_rows(self) -> Mapping[str, str]:
        return {"text": "text_encoder_2"}

    def _call(self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds) -> torch.Tensor:
        height, width = noisy.shape[-2:]
        text = prompt_embeds.streams["text"]
        output = self.pipeline.transformer(
            hidden_states=self._packed(noisy),
            timestep=self._sigmas(timesteps, noisy.dtype),
            guidance=torch.full_like(timesteps, GUIDANCE, dtype=torch.float32) if self._embeds_guidance else None,
            pooled_projections=prompt_embeds.streams["pooled"][:, 0],
            encoder_hidden_states=text,
            txt_ids=text.new_zeros(text.shape[1], 3),
            img_ids=self._find_image_ids(height // 2, width // 2, noisy.dtype),
        ).sample
        return self._unpacked(output, height, width)

    def _find_image_ids(self, rows: int, columns: int, dtype: torch.dtype) -> torch.Tensor:
        """Return the places of the tokens of an image, as the pipeline numbers them, on the device."""
        known = self.__dict__.setdefault("_image_ids", {})
        key = rows, columns, dtype
        if key not in known:
            # Made in main memory; kept, so that they are copied to the device once and not at every pass.
            known[key] = self.pipeline._prepare_latent_image_ids(1, rows, columns, self.device, dtype)
        return cast(torch.Tensor, known[key])

    def _prompt_arguments(self, prompt_embeds: PromptEmbeds) -> dict[str, torch.Tensor]:
        streams = prompt_embeds.streams
        return {"prompt_embeds": streams["text"], "pooled_prompt_embeds": streams["pooled"][:, 0]}

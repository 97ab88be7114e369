"""Stable Diffusion XL: two text encoders side by side, the pooled vector of the second, and the sizes of the image."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, cast

import torch
from diffusers import StableDiffusionXLPipeline

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.families.unet import AnyUNetDenoiser, mark_free_but_first


class SDXLDenoiser(AnyUNetDenoiser):
    """A StableDiffusionXLPipeline as a Denoiser.

    Streams: "text", the last hidden states but one of both text encoders, side by side; and "pooled", the second one's
    projected vector, as one token. The extra "time_ids" (N, 6) rides along: original size, corner of the crop and
    target size, all at the model's own resolution, as its pipeline fills them in.
    """

    tokenizers = MappingProxyType({"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"})

    def __init__(
        self, pipeline: StableDiffusionXLPipeline, fingerprint: str, device: torch.device | str = "cpu"
    ) -> None:
        """Freeze a pipeline and move it to a device.

        Raises ModelRefusedError for weights that are not finite, an unknown prediction type, sizes that no image has,
        or a UNet that takes more than text (inpainting), or neither pooled vectors nor sizes.
        """
        kind = pipeline.unet.config.addition_embed_type
        if kind != "text_time":
            raise ModelRefusedError(
                f"the UNet's addition_embed_type is {kind!r:.80}; that of Stable Diffusion XL is 'text_time'"
            )
        super().__init__(pipeline, fingerprint, device)
        # The watermark would be part of every image that is compared.
        pipeline.watermark = None
        # Called for every batch in half precision; the pipeline's own method does the same and warns each time.
        pipeline.upcast_vae = lambda: pipeline.vae.to(dtype=torch.float32)

    def _encode(self, prompts: Sequence[str]) -> tuple[torch.Tensor, ...]:
        """Return states and those of the pipeline's own negative, then pooled vectors and theirs."""
        return cast(
            tuple[torch.Tensor, ...],
            self.pipeline.encode_prompt(
                prompt=list(prompts), device=self.device, num_images_per_prompt=1, do_classifier_free_guidance=True
            ),
        )

    def _embeds(self, text: torch.Tensor, pooled: torch.Tensor) -> PromptEmbeds:
        """Return conditions of states (N, tokens, width) and pooled vectors (N, width), at the model's resolution."""
        size = [self.resolution, self.resolution]
        return PromptEmbeds(
            {"text": text.float(), "pooled": pooled.float()[:, None]},
            {"text": mark_free_but_first(text), "pooled": torch.ones(1, dtype=torch.bool)},
            {"time_ids": torch.tensor([[*size, 0, 0, *size]], dtype=torch.float32).repeat(len(text), 1)},
        )

    @torch.no_grad()
    def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Encode as the pipeline does, the same prompts for both encoders; all free but the first state (BOS)."""
        text, _, pooled, _ = self._encode(prompts)
        return self._embeds(text, pooled)

    @torch.no_grad()
    def null_condition(self) -> PromptEmbeds:
        """Return what the pipeline guides away from: zeros where it forces them for empty prompts, else that prompt."""
        _, text, _, pooled = self._encode([""])
        return self._embeds(text, pooled)

    def start_condition(self) -> PromptEmbeds:
        """Return the empty prompt. Zeros have no scale, and rows that are all the same would always move as one."""
        return self.condition([""])

    def condition_words(self, weights: torch.Tensor) -> PromptEmbeds:
        """Encode BOS, the same mixtures, EOS and padding, through both text encoders."""
        first, second = self._encode_words(weights)
        return self._embeds(torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=2), second[0])

    def _factors(self) -> tuple[Any, Any]:
        """Return scale and means per channel where there are any; the pipeline never shifts by a shift_factor."""
        config = self.pipeline.vae.config
        scale, means, spreads = config.scaling_factor, config.get("latents_mean"), config.get("latents_std")
        if means is None or spreads is None:
            return scale, 0.0
        mean, spread = (torch.tensor(values, device=self.device).reshape(1, -1, 1, 1) for values in (means, spreads))
        return scale / spread, mean

    @contextmanager
    def _autoencoder(self) -> Iterator[Any]:
        """Yield the autoencoder, in float32 where half precision would overflow, as the pipeline does."""
        vae = self.pipeline.vae
        upcast = vae.dtype == torch.float16 and vae.config.force_upcast
        try:
            yield vae.to(dtype=torch.float32) if upcast else vae
        finally:
            if upcast:
                vae.to(dtype=torch.float16)

    def _network_arguments(self, prompt_embeds: PromptEmbeds) -> dict[str, Any]:
        text = prompt_embeds.streams["text"]
        added = {
            "text_embeds": prompt_embeds.streams["pooled"][:, 0],
            "time_ids": prompt_embeds.extras["time_ids"].to(text.dtype),
        }
        return {"encoder_hidden_states": text, "added_cond_kwargs": added}

    def _prompt_arguments(self, prompt_embeds: PromptEmbeds) -> dict[str, torch.Tensor]:
        streams = prompt_embeds.streams
        return {"prompt_embeds": streams["text"], "pooled_prompt_embeds": streams["pooled"][:, 0]}

"""Qwen-Image 2.1: text and image in one causal sequence, latents as they are, and an autoencoder with transparency."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.families.grouped import OwnLengthDenoiser
from imgaudit.models.families.padded_text import fill_up
from imgaudit.models.families.qwen_image import QwenImageDenoiser

GROUP = 2
"""Side of the squares of latents in which the pipeline counts an image's tokens."""


class QwenImage21Denoiser(OwnLengthDenoiser, QwenImageDenoiser):
    """A QwenImage21Pipeline as a Denoiser.

    Conditions are those of Qwen-Image. The pipeline reads prompts of any length; here they are cut after 512 rows, so
    that conditions can be joined. An image's place is counted from the end of the text, padding included, so prompts
    are passed on at their own length. Images are shown on white, as the pipeline itself shows those that it is given.
    """

    packing = 1

    def _refuse_sizes(self, pipeline: Any) -> None:
        super()._refuse_sizes(pipeline)
        if pipeline.config.sample_sigmas is not None:
            raise ModelRefusedError(
                "the pipeline sets 'sample_sigmas', as models do that are distilled to so many steps: any other number "
                "of steps would be left out"
            )
        patch, side = pipeline.transformer.config.patch_size, self._side(pipeline)
        if patch != 1 or side % GROUP:
            raise ModelRefusedError(
                f"the transformer's patch_size is {patch!r:.80} and latents have a side of {side}; the pipeline passes "
                f"on single latents, in squares of {GROUP}"
            )
        taken, made = pipeline.vae.config.in_channels, pipeline.vae.config.out_channels
        if taken != 4 or made != 4:
            raise ModelRefusedError(
                f"the autoencoder takes images of {taken!r:.80} channels and makes {made!r:.80}; expected 4, red, "
                "green, blue and opacity"
            )

    def _encode_raw(self, vae: Any, images: torch.Tensor) -> torch.Tensor:
        return super()._encode_raw(vae, torch.cat([images, torch.ones_like(images[:, :1])], dim=1))

    def _decode_raw(self, vae: Any, latents: torch.Tensor) -> torch.Tensor:
        return _show_on_white(super()._decode_raw(vae, latents))

    @torch.no_grad()
    def _encode(self, prompts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (N, 512, width) states and (N, 512) mask of 0 and 1."""
        text, mask, _ = self.pipeline.encode_prompt(prompt=list(prompts), device=self.device)
        return fill_up(text, mask, self.max_sequence_length)

    @cached_property
    def _around(self) -> int:
        """Tokens of the template that the pipeline leaves around a prompt."""
        filled = self.pipeline.prompt_template_t2i.format("")
        return len(self.pipeline.processor.tokenizer(filled).input_ids) - int(self.pipeline._drop_idx)

    def _text_lengths(self) -> Mapping[str, tuple[Any, int]]:
        return {"text_encoder": (self.pipeline.processor.tokenizer, self.max_sequence_length - self._around)}

    def _call_alike(
        self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds, length: int
    ) -> torch.Tensor:
        height, width = noisy.shape[-2:]
        # One place for each token of text, and one for each square of latents.
        places = torch.arange(length + height * width // GROUP**2, device=noisy.device) >= length
        output = self.pipeline.transformer(
            hidden_states=self._packed(noisy),
            timestep=self._sigmas(timesteps, noisy.dtype),
            encoder_hidden_states=prompt_embeds.streams["text"][:, :length],
            img_shapes=[[(1, height, width)]] * len(noisy),
            img_mask=places.expand(len(noisy), -1),
        ).sample
        return self._unpacked(output[:, -height * width :], height, width)

    def sample(
        self,
        prompt_embeds: PromptEmbeds,
        seeds: Sequence[int],
        *,
        guidance_scale: float,
        num_inference_steps: int,
        latents: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Call the pipeline once for each length of prompts; images on the CPU, shown on white."""
        images = super().sample(
            prompt_embeds, seeds, guidance_scale=guidance_scale, num_inference_steps=num_inference_steps,
            latents=latents,
        )  # fmt: skip
        return _show_on_white(images)


def _show_on_white(images: torch.Tensor) -> torch.Tensor:
    """Return (N, 3, H, W) of (N, 4, H, W) images in [-1, 1], of which the fourth channel is opacity."""
    colours, opacity = images[:, :3].clamp(-1, 1), (images[:, 3:].clamp(-1, 1) + 1) / 2
    return colours * opacity + (1 - opacity)

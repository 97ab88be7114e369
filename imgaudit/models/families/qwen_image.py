"""Qwen-Image: a language model's states of a filled-in template, packed latents, an autoencoder for video."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.families.padded_text import PaddedTextDenoiser, fill_up
from imgaudit.models.families.qwen_autoencoder import QwenAutoencoderDenoiser


class QwenImageDenoiser(PaddedTextDenoiser, QwenAutoencoderDenoiser):
    """A QwenImagePipeline as a Denoiser.

    Stream: "text", filled up with zeros, which the "mask" that rides along hides. Text and image attend to each other,
    so a row more would be another condition: free are the rows that the empty prompt has, those of the template's end.
    `guidance_scale` is the pipeline's true_cfg_scale.
    """

    guidance_name = "true_cfg_scale"
    empty_prompt = " "
    fewest_steps = 2
    """At one step the scheduler divides by zero, where it stretches its shifts to their end."""

    def __init__(self, pipeline: Any, fingerprint: str, device: torch.device | str = "cpu") -> None:
        """Freeze a pipeline and move it to a device.

        Raises ModelRefusedError as the other transformers do, for one that takes guidance as an input, and for a
        tokenizer of whose template the pipeline would leave nothing.
        """
        if pipeline.transformer.config.get("guidance_embeds"):
            raise ModelRefusedError("the transformer embeds the guidance scale, which no published Qwen-Image does")
        super().__init__(pipeline, fingerprint, device)
        self._refuse_tokenizer()

    def _refuse_tokenizer(self) -> None:
        if self._around < 1:
            raise ModelRefusedError(
                "the tokenizer makes fewer tokens of the template around a prompt than the pipeline cuts from its start"
            )

    @torch.no_grad()
    def _encode(self, prompts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (N, 512, width) states and (N, 512) mask of 0 and 1."""
        text, mask = self.pipeline.encode_prompt(
            prompt=list(prompts), device=self.device, num_images_per_prompt=1,
            max_sequence_length=self.max_sequence_length,
        )  # fmt: skip
        return fill_up(text, mask, self.max_sequence_length)

    @cached_property
    def _around(self) -> int:
        """Tokens of the template that the pipeline leaves around a prompt."""
        template, cut = self.pipeline.prompt_template_encode, self.pipeline.prompt_template_encode_start_idx
        return len(self.pipeline.tokenizer(template.format("")).input_ids) - int(cut)

    def _text_lengths(self) -> Mapping[str, tuple[Any, int]]:
        return {"text_encoder": (self.pipeline.tokenizer, self.max_sequence_length - self._around)}

    def _call(self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds) -> torch.Tensor:
        (text, mask), (height, width) = self._seen(prompt_embeds), noisy.shape[-2:]
        output = self.pipeline.transformer(
            hidden_states=self._packed(noisy),
            timestep=self._sigmas(timesteps, noisy.dtype),
            encoder_hidden_states=text,
            encoder_hidden_states_mask=None if bool(mask.all()) else mask,
            img_shapes=[[(1, height // 2, width // 2)]] * len(noisy),
        ).sample
        return self._unpacked(output, height, width)

    def _prompt_arguments(self, prompt_embeds: PromptEmbeds) -> dict[str, torch.Tensor]:
        text, mask = self._seen(prompt_embeds)
        return {"prompt_embeds": text, "prompt_embeds_mask": mask}

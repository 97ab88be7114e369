"""Krea 2: twelve layers of a chat model for every token, padding in the midst of the template, Qwen's autoencoder."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.families.padded_text import PaddedTextDenoiser
from imgaudit.models.families.qwen_autoencoder import QwenAutoencoderDenoiser


class Krea2Denoiser(PaddedTextDenoiser, QwenAutoencoderDenoiser):
    """A Krea2Pipeline as a Denoiser.

    Stream: "text", the layers of each token side by side. The padding between a prompt and the template's end is
    hidden by the "mask", so free are the rows of this end, which have read the prompt. The guidance scale is the usual
    one, and the pipeline's is one lower.
    """

    guidance_offset = 1.0

    def __init__(self, pipeline: Any, fingerprint: str, device: torch.device | str = "cpu") -> None:
        """Freeze a pipeline and move it to a device.

        Raises ModelRefusedError as the other transformers do, and for a tokenizer that makes other numbers of tokens
        of the template than the pipeline counts on.
        """
        super().__init__(pipeline, fingerprint, device)
        self._refuse_tokenizer()

    def _refuse_tokenizer(self) -> None:
        pipeline = self.pipeline
        wanted = pipeline.prompt_template_encode_start_idx, pipeline.prompt_template_encode_num_suffix_tokens
        parts = pipeline.prompt_template_encode_prefix, pipeline.prompt_template_encode_suffix
        made = tuple(len(pipeline.tokenizer(part).input_ids) for part in parts)
        if made != wanted:
            raise ModelRefusedError(
                f"the tokenizer makes {made[0]} and {made[1]} tokens of the template before and after a prompt; the "
                f"pipeline counts on {wanted[0]} and {wanted[1]}"
            )

    def _refuse_sizes(self, pipeline: Any) -> None:
        layers, taken = len(pipeline.text_encoder_select_layers), pipeline.transformer.config.num_text_layers
        if layers != taken:
            raise ModelRefusedError(
                f"the transformer's num_text_layers is {taken!r:.80}; expected {layers}, as many as the pipeline takes "
                "of the text encoder"
            )
        super()._refuse_sizes(pipeline)

    def _patch(self, pipeline: Any) -> int:
        # The pipeline packs; the network has one token for each of its inputs.
        return 1

    @torch.no_grad()
    def _encode(self, prompts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (N, 512, layers * width) states and (N, 512) mask of 0 and 1."""
        text, mask = self.pipeline.encode_prompt(
            prompt=list(prompts), device=self.device, num_images_per_prompt=1,
            max_sequence_length=self.max_sequence_length,
        )  # fmt: skip
        return text.float().flatten(2), mask.long()

    def _text_lengths(self) -> Mapping[str, tuple[Any, int]]:
        after = int(self.pipeline.prompt_template_encode_num_suffix_tokens)
        return {"text_encoder": (self.pipeline.tokenizer, self.max_sequence_length - after)}

    def _unpacked(self, tokens: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """Unpack (N, h/2 * w/2, 4 C) into (N, C, h, w), by the pipeline's own method, which counts in pixels."""
        scale = self.pipeline.vae_scale_factor
        return cast(torch.Tensor, self.pipeline._unpack_latents(tokens, height * scale, width * scale)[:, :, 0])

    def _call(self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds) -> torch.Tensor:
        height, width = noisy.shape[-2:]
        text = self._prompt_arguments(prompt_embeds)
        output = self.pipeline.transformer(
            hidden_states=self._packed(noisy),
            encoder_hidden_states=text["prompt_embeds"],
            # Rounded after the division, unlike in other pipelines.
            timestep=((timesteps + 1) / self.schedule.num_train_timesteps).to(noisy.dtype),
            position_ids=self.pipeline.prepare_position_ids(
                text["prompt_embeds"].shape[1], height // 2, width // 2, self.device
            ),
            encoder_attention_mask=text["prompt_embeds_mask"],
        ).sample
        return self._unpacked(output, height, width)

    def _prompt_arguments(self, prompt_embeds: PromptEmbeds) -> dict[str, torch.Tensor]:
        layers = int(self.pipeline.transformer.config.num_text_layers)
        return {
            "prompt_embeds": prompt_embeds.streams["text"].unflatten(2, (layers, -1)),
            "prompt_embeds_mask": prompt_embeds.extras["mask"].bool(),
        }

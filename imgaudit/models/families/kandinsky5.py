"""Kandinsky 5, text to image: a language model's states and CLIP's pooled vector, without any mask."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, cast

import torch

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.families.grouped import OwnLengthDenoiser
from imgaudit.models.families.padded_text import fill_up
from imgaudit.models.families.short_template import ShortTemplateDenoiser

PATCH = [1, 2, 2]
"""Frames, rows and columns of latents that the network makes one token of."""


class Kandinsky5Denoiser(OwnLengthDenoiser, ShortTemplateDenoiser):
    """A Kandinsky5T2IPipeline as a Denoiser; the pipeline's own latents are (N, 1, h, w, C), a film of one frame.

    Streams: "text", the language model's states; and "pooled", CLIP's vector as one token. The pipeline hides no
    padding, neither from the text encoder nor from the network, so prompts are encoded and passed on at their own
    length. The "mask" counts their rows.
    """

    def __init__(self, pipeline: Any, fingerprint: str, device: torch.device | str = "cpu") -> None:
        """Freeze a pipeline and move it to a device.

        Raises ModelRefusedError as the other transformers do, for a model that edits images, and for a tokenizer of
        whose template the pipeline would leave nothing.
        """
        # Pipelines that are kin to film have a scale of time beside that of space.
        pipeline.vae_scale_factor = pipeline.vae_scale_factor_spatial
        super().__init__(pipeline, fingerprint, device)
        self._refuse_tokenizer()

    def _refuse_sizes(self, pipeline: Any) -> None:
        if pipeline.transformer.config.visual_cond:
            raise ModelRefusedError(
                "the transformer sets 'visual_cond', as models do that edit images; only plain text-to-image models "
                "can be audited"
            )
        super()._refuse_sizes(pipeline)

    def _taken(self, pipeline: Any) -> Any:
        return pipeline.transformer.config.in_visual_dim

    def _patch(self, pipeline: Any) -> int:
        patch = pipeline.transformer.config.patch_size
        if list(patch) != PATCH:
            raise ModelRefusedError(f"the transformer's patch_size is {patch!r:.80}; expected {PATCH}")
        return PATCH[1]

    def _factors(self) -> tuple[Any, Any]:
        # The pipeline leaves out the autoencoder's shift.
        return self.pipeline.vae.config.scaling_factor, 0.0

    @cached_property
    def _around(self) -> int:
        template, cut = self.pipeline.prompt_template, self.pipeline.prompt_template_encode_start_idx
        return len(self.pipeline.tokenizer.tokenizer(template.format("")).input_ids) - int(cut)

    @torch.no_grad()
    def _encode_alone(self, prompt: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        text, pooled, _ = self.pipeline.encode_prompt(
            prompt=[prompt], device=self.device, max_sequence_length=self.max_sequence_length
        )
        return *fill_up(text, None, self.max_sequence_length), pooled.float()[:, None]

    def _encode(self, prompts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (N, 512, width) states and (N, 512) mask of 0 and 1."""
        text, mask, _ = (torch.cat(parts) for parts in zip(*map(self._encode_alone, prompts), strict=True))
        return text, mask

    def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Encode each prompt as the pipeline does; free are the first rows, and the vector."""
        text, mask, pooled = (torch.cat(parts) for parts in zip(*map(self._encode_alone, prompts), strict=True))
        free = {"text": self._shown_by_none, "pooled": torch.ones(1, dtype=torch.bool)}
        return PromptEmbeds({"text": text, "pooled": pooled}, free, {"mask": mask})

    def _text_lengths(self) -> Mapping[str, tuple[Any, int]]:
        pipeline = self.pipeline
        return {
            "text_encoder": (pipeline.tokenizer.tokenizer, self.max_sequence_length - self._around),
            "text_encoder_2": (pipeline.tokenizer_2, 77),
        }

    def _packed(self, latents: torch.Tensor) -> torch.Tensor:
        return latents.movedim(1, -1)[:, None]

    def _call_alike(
        self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds, length: int
    ) -> torch.Tensor:
        height, width = (torch.arange(side // PATCH[1], device=noisy.device) for side in noisy.shape[-2:])
        output = self.pipeline.transformer(
            hidden_states=self._packed(noisy),
            encoder_hidden_states=prompt_embeds.streams["text"][:, :length],
            pooled_projections=prompt_embeds.streams["pooled"][:, 0],
            timestep=(timesteps + 1).to(noisy.dtype),
            visual_rope_pos=[torch.arange(1, device=noisy.device), height, width],
            text_rope_pos=torch.arange(length, device=noisy.device),
        ).sample
        return cast(torch.Tensor, output[:, 0].movedim(-1, 1))

    def _prompt_arguments(self, prompt_embeds: PromptEmbeds) -> dict[str, Any]:
        text, mask = self._seen(prompt_embeds)
        ends = torch.nn.functional.pad(mask.sum(dim=1).cumsum(0), (1, 0)).int()
        pooled = prompt_embeds.streams["pooled"][:, 0]
        return {"prompt_embeds_qwen": text, "prompt_embeds_clip": pooled, "prompt_cu_seqlens": ends}

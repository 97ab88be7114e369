"""Stable Diffusion 3 and 3.5: two CLIP encoders and T5, whose states are read as one sequence."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch

from imgaudit.denoiser import PromptEmbeds
from imgaudit.models.transformer import TransformerDenoiser, all_free, set_apart


class SD3Denoiser(TransformerDenoiser):
    """A StableDiffusion3Pipeline as a Denoiser.

    Streams: "text", the states of both CLIP encoders side by side, filled up with zeros to T5's width, then those of
    T5; and "pooled", both CLIP vectors as one token. Without T5 its rows are zeros and stay so.
    """

    @torch.no_grad()
    def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """The pipeline's own text encoding; all but CLIP's first position (BOS) free."""
        embeds, _, pooled, _ = self.pipeline.encode_prompt(
            prompt=list(prompts), prompt_2=None, prompt_3=None, device=self.device, num_images_per_prompt=1,
            do_classifier_free_guidance=False, max_sequence_length=self.max_sequence_length,
        )  # fmt: skip
        text, pooled = embeds.float(), pooled.float()[:, None]
        free, pooled_free = all_free(text, pooled)
        free[0] = False
        if self.pipeline.text_encoder_3 is None:
            free[self._clip_tokens :] = False
        return PromptEmbeds({"text": text, "pooled": pooled}, {"text": free, "pooled": pooled_free})

    def start_condition(self) -> PromptEmbeds:
        """The empty prompt, with the rows of T5's padding apart."""
        null = self.null_condition()
        text = null.streams["text"]
        if self.pipeline.text_encoder_3 is None:
            return null
        clip, t5 = text[:, : self._clip_tokens], text[:, self._clip_tokens :]
        return null.with_streams({**null.streams, "text": torch.cat([clip, set_apart(t5)], dim=1)})

    @property
    def _clip_tokens(self) -> int:
        return int(self.pipeline.tokenizer_max_length)

    def _text_lengths(self) -> Mapping[str, tuple[Any, int]]:
        pipeline = self.pipeline
        lengths = {
            "text_encoder": (pipeline.tokenizer, self._clip_tokens),
            "text_encoder_2": (pipeline.tokenizer_2, self._clip_tokens),
        }
        if pipeline.text_encoder_3 is not None:
            lengths["text_encoder_3"] = (pipeline.tokenizer_3, self.max_sequence_length)
        return lengths

    def _text(self, prompt_embeds: PromptEmbeds) -> torch.Tensor:
        """The sequence without what no text encoder could have written: the zeros beside CLIP's states."""
        text, pipeline = prompt_embeds.streams["text"], self.pipeline
        beside = torch.zeros(text.shape[1:], dtype=torch.bool, device=text.device)
        width = pipeline.text_encoder.config.hidden_size + pipeline.text_encoder_2.config.hidden_size
        beside[: self._clip_tokens, width:] = True
        return text.masked_fill(beside, 0)

    def _call(self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds) -> torch.Tensor:
        output = self.pipeline.transformer(
            hidden_states=noisy,
            # sigma times the number of timesteps, as the scheduler counts.
            timestep=(timesteps + 1).float(),
            encoder_hidden_states=self._text(prompt_embeds),
            pooled_projections=prompt_embeds.streams["pooled"][:, 0],
        ).sample
        return cast(torch.Tensor, output)

    def _sampling_arguments(self, prompt_embeds: PromptEmbeds, guidance_scale: float) -> Mapping[str, Any]:
        arguments: dict[str, Any] = {
            "prompt_embeds": self._text(prompt_embeds),
            "pooled_prompt_embeds": prompt_embeds.streams["pooled"][:, 0],
            "guidance_scale": guidance_scale,
            "height": self.resolution,
            "width": self.resolution,
        }
        if guidance_scale > 1:
            null = self._moved(self.null_condition().repeat(len(prompt_embeds)))
            arguments["negative_prompt_embeds"] = self._text(null)
            arguments["negative_pooled_prompt_embeds"] = null.streams["pooled"][:, 0]
        return arguments

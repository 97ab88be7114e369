"""Stable Diffusion 3 and 3.5: two CLIP encoders and T5, whose states are read as one sequence."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.models.families.mixed_words import MixedWordsDenoiser
from imgaudit.models.families.transformer import TransformerDenoiser, mark_all_free, spread_rows

SEQUENCE_LENGTH = 256
"""Tokens of T5, as diffusers has them by default."""


class SD3Denoiser(MixedWordsDenoiser, TransformerDenoiser):
    """A StableDiffusion3Pipeline as a Denoiser.

    Streams: "clip", the states of both CLIP encoders side by side; "t5", those of T5, which a model without it does not
    have; and "pooled", both CLIP vectors as one token. The network reads CLIP's rows, filled up with zeros to T5's
    width, and then T5's, which are zeros without it.
    """

    @property
    def max_sequence_length(self) -> int:  # type: ignore[override]
        """256 tokens of T5, or as many as its tokenizer takes."""
        tokenizer = self.pipeline.tokenizer_3
        return SEQUENCE_LENGTH if tokenizer is None else min(SEQUENCE_LENGTH, int(tokenizer.model_max_length))

    @torch.no_grad()
    def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Encode as the pipeline does; all but CLIP's first position (BOS) free."""
        embeds, _, pooled, _ = self.pipeline.encode_prompt(
            prompt=list(prompts), prompt_2=None, prompt_3=None, device=self.device, num_images_per_prompt=1,
            do_classifier_free_guidance=False, max_sequence_length=self.max_sequence_length,
        )  # fmt: skip
        clip, t5 = embeds.split([self._clip_tokens, self.max_sequence_length], dim=1)
        return self._embeds(clip[..., : self._clip_width], None if self.pipeline.text_encoder_3 is None else t5, pooled)

    def condition_words(self, weights: torch.Tensor) -> PromptEmbeds:
        """Encode the same mixtures through all text encoders."""
        first, second, *t5 = self._encode_words(weights)
        clip = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=2)
        return self._embeds(clip, t5[0][0] if t5 else None, torch.cat([first[0], second[0]], dim=1))

    def _embeds(self, clip: torch.Tensor, t5: torch.Tensor | None, pooled: torch.Tensor) -> PromptEmbeds:
        """Return conditions of states (N, tokens, width), those of T5 where there are any, and pooled vectors."""
        parts = {"clip": clip, "t5": t5, "pooled": pooled[:, None]}
        streams = {name: part.float() for name, part in parts.items() if part is not None}
        free = dict(zip(streams, mark_all_free(*streams.values()), strict=True))
        free["clip"][0] = False
        return PromptEmbeds(streams, free)

    def start_condition(self) -> PromptEmbeds:
        """Return the empty prompt, with the rows of T5's padding moved apart."""
        null = self.null_condition()
        if "t5" not in null.streams:
            return null
        return null.with_streams({**null.streams, "t5": spread_rows(null.streams["t5"])})

    @property
    def _clip_tokens(self) -> int:
        return int(self.pipeline.tokenizer_max_length)

    @property
    def _clip_width(self) -> int:
        return int(self.pipeline.text_encoder.config.hidden_size + self.pipeline.text_encoder_2.config.hidden_size)

    def _text_lengths(self) -> Mapping[str, tuple[Any, int]]:
        pipeline = self.pipeline
        lengths = {
            "text_encoder": (pipeline.tokenizer, self._clip_tokens),
            "text_encoder_2": (pipeline.tokenizer_2, self._clip_tokens),
        }
        if pipeline.text_encoder_3 is not None:
            lengths["text_encoder_3"] = (pipeline.tokenizer_3, self.max_sequence_length)
        return lengths

    def _token_rows(self) -> Mapping[str, str]:
        rows = {"clip": "text_encoder", "t5": "text_encoder_3"}
        return {stream: encoder for stream, encoder in rows.items() if encoder in self._text_lengths()}

    def _text(self, prompt_embeds: PromptEmbeds) -> torch.Tensor:
        """Return the sequence as the pipeline joins it, (N, clip tokens + t5 tokens, joint_attention_dim)."""
        clip, width = prompt_embeds.streams["clip"], int(self.pipeline.transformer.config.joint_attention_dim)
        t5 = prompt_embeds.streams.get("t5")
        if t5 is None:
            t5 = clip.new_zeros(len(clip), self.max_sequence_length, width)
        return torch.cat([torch.nn.functional.pad(clip, (0, width - clip.shape[2])), t5], dim=1)

    def _call(self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds) -> torch.Tensor:
        output = self.pipeline.transformer(
            hidden_states=noisy,
            # sigma times the number of timesteps, as the scheduler counts.
            timestep=(timesteps + 1).float(),
            encoder_hidden_states=self._text(prompt_embeds),
            pooled_projections=prompt_embeds.streams["pooled"][:, 0],
        ).sample
        return cast(torch.Tensor, output)

    def _prompt_arguments(self, prompt_embeds: PromptEmbeds) -> dict[str, torch.Tensor]:
        pooled = prompt_embeds.streams["pooled"][:, 0]
        return {"prompt_embeds": self._text(prompt_embeds), "pooled_prompt_embeds": pooled}

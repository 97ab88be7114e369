"""Ideogram 4: a network of its own for the null, time from noise to image, and a call that takes prompts alone."""

import warnings
from collections.abc import Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any

import torch
from diffusers.pipelines.ideogram4.pipeline_ideogram4 import QWEN3_VL_ACTIVATION_LAYERS as LAYERS

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.families.grouped import OwnLengthDenoiser
from imgaudit.models.families.padded_chat import PaddedChatDenoiser, fill_up_rows
from imgaudit.models.families.patched_autoencoder import PatchedAutoencoderDenoiser
from imgaudit.models.families.prompts_only import GivenConditions, PromptsOnlyDenoiser


class Ideogram4Denoiser(PromptsOnlyDenoiser, OwnLengthDenoiser, PaddedChatDenoiser, PatchedAutoencoderDenoiser):
    """An Ideogram4Pipeline as a Denoiser.

    Stream: "text", thirteen layers of each token of the chat model; prompts are passed on at their own length. The null
    is a condition without any row, for `unconditional_transformer`: the score compares two networks.
    """

    null_network_name = "unconditional_transformer"
    offloads_layers = False
    draws_tokens = True
    squares_first = True
    default_side = 2048
    sampling_options = MappingProxyType({"guidance_schedule": None})

    def _refuse_sizes(self, pipeline: Any) -> None:
        super()._refuse_sizes(pipeline)
        taken, other = (getattr(pipeline, name).config for name in (self.network_name, self.null_network_name))
        for key in ("in_channels", "llm_features_dim"):
            if taken[key] != other[key]:
                raise ModelRefusedError(
                    f"the unconditional_transformer's {key} is {other[key]!r:.80}; expected {taken[key]!r:.80}"
                )

    def _refuse_tokenizer(self) -> None:
        super()._refuse_tokenizer()
        text, taken = self.pipeline.text_encoder.config.text_config, self.network.config.llm_features_dim
        layers, width, needed = text.num_hidden_layers, len(LAYERS) * text.hidden_size, max(LAYERS) + 1
        if layers < needed or width != taken:
            raise ModelRefusedError(
                f"the text encoder has {layers} layers, of which {len(LAYERS)} have {width:,} numbers for a token; "
                f"expected {needed} or more, and {taken!r:.80} numbers, the transformer's llm_features_dim"
            )

    def _patch(self, pipeline: Any) -> int:
        return 1  # The pipeline packs; the network has one token for each of its inputs.

    def _packed(self, latents: torch.Tensor) -> torch.Tensor:
        """Return (N, C, h, w) as tokens, (N, h * w, C)."""
        return latents.flatten(2).transpose(1, 2)

    def _fill_in(self, prompt: str) -> str:
        return self._fill_in_as_user([{"type": "text", "text": prompt}])

    @torch.no_grad()
    def _encode(self, prompts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (N, 512, width) states and (N, 512) mask of 0 and 1."""
        filled = [self._fill_in(prompt) for prompt in prompts]
        read = self.pipeline.tokenizer(filled, add_special_tokens=False, verbose=False).input_ids
        longest = max(map(len, read))
        # It fills up the beginning, whatever the image, and names an argument of transformers as it once was.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            text, *_ = self.pipeline.encode_prompt(list(prompts), 1, 1, longest, self.device)
        listed = [row[longest - len(own) : longest] for row, own in zip(text, read, strict=True)]
        return fill_up_rows(listed, self.max_sequence_length)

    @cached_property
    def _null(self) -> PromptEmbeds:
        return self.start_condition().map(torch.zeros_like)

    def null_condition(self) -> PromptEmbeds:
        """Return a condition without any row, by which `unconditional_transformer` is chosen."""
        return self._null

    def start_condition(self) -> PromptEmbeds:
        """Return the empty prompt: what is inverted is read by the network that reads text."""
        return self.condition([self.empty_prompt])

    def _encoded(
        self, prompt_embeds: PromptEmbeds, grid_h: int, grid_w: int, max_sequence_length: int, device: torch.device
    ) -> tuple[torch.Tensor, ...]:
        """Return text (N, tokens, width) of conditions of one length before an image, places, segments and roles."""
        text = prompt_embeds.streams["text"][:, :max_sequence_length]
        lengths, empty = [max_sequence_length] * len(text), text.new_zeros(len(text), grid_h * grid_w, text.shape[2])
        places = self.pipeline._prepare_ids(lengths, grid_h, grid_w, max_sequence_length, device)
        return torch.cat([text, empty], dim=1), *places

    def _call_alike(
        self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds, length: int
    ) -> torch.Tensor:
        height, width = noisy.shape[-2:]
        text, position_ids, segment_ids, indicator = self._encoded(prompt_embeds, height, width, length, noisy.device)
        network = getattr(self.pipeline, self.network_name if length else self.null_network_name)
        output = network(
            # Nothing is drawn where text stands.
            hidden_states=torch.cat([noisy.new_zeros(len(noisy), length, noisy.shape[1]), self._packed(noisy)], dim=1),
            # Time runs from 0 at the noise to 1 at the image, and the flow against ours.
            timestep=(1 - (timesteps + 1).float() / self.schedule.num_train_timesteps).to(noisy.dtype),
            encoder_hidden_states=text, position_ids=position_ids, segment_ids=segment_ids, indicator=indicator,
        ).sample  # fmt: skip
        return -self._unpacked(output[:, length:], height, width)

    def _prompt_arguments(self, prompt_embeds: PromptEmbeds) -> dict[str, Any]:
        # `sample` passes on conditions of one length.
        length = int(prompt_embeds.extras["mask"][0].sum())
        return {"prompt": GivenConditions(prompt_embeds), "max_sequence_length": length}

    def _sampling_arguments(self, prompt_embeds: PromptEmbeds, guidance_scale: float) -> dict[str, Any]:
        arguments = super()._sampling_arguments(prompt_embeds, 1.0)
        # At 0 the pipeline follows the null's network alone.
        return {**arguments, self.guidance_name: guidance_scale if arguments["max_sequence_length"] else 0.0}

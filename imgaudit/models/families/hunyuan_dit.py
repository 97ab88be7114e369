"""Hunyuan-DiT: BERT's states and T5's, with learned rows in place of padding, predicting velocity."""

import inspect
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast

import torch
from diffusers.models.embeddings import get_2d_rotary_pos_embed
from diffusers.pipelines.hunyuandit.pipeline_hunyuandit import get_resize_crop_region_for_grid

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.schedules import NoiseSchedule, PredictionType, Schedule
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.families.masked_text import fill_hidden_rows
from imgaudit.models.families.transformer import TransformerDenoiser, mark_all_free, spread_rows

LENGTHS = {"text": 77, "t5": 256}
"""Tokens of each text encoder, by the name of its stream; the pipeline takes no others."""

PIXELS = 8
"""Pixels to a latent, and 512 of them to the grid that places are measured in: written into the pipeline."""

SUPPORTED_PREDICTIONS = ("epsilon", "v_prediction")


class HunyuanDiTDenoiser(TransformerDenoiser):
    """A HunyuanDiTPipeline as a Denoiser.

    Streams: "text", BERT's states, and "t5", T5's. What their masks, "mask" and "mask_2", hide is replaced by learned
    rows; besides, one vector is made of all of T5's rows, hidden or not.
    """

    shifts_latents = False
    sampling_options = MappingProxyType({"use_resolution_binning": False})

    def _read_schedule(self, scheduler: Any) -> Schedule:
        kind = scheduler.config.get("prediction_type", "epsilon")
        if kind not in SUPPORTED_PREDICTIONS or not hasattr(scheduler, "alphas_cumprod"):
            raise ModelRefusedError(
                f"the scheduler is {type(scheduler).__name__} with prediction_type {kind!r:.80}; Hunyuan-DiT predicts "
                f"{' or '.join(SUPPORTED_PREDICTIONS)} under a schedule of alphas"
            )
        self.prediction_type = cast(PredictionType, kind)
        return NoiseSchedule(scheduler.alphas_cumprod.double().cpu())

    def _refuse_sizes(self, pipeline: Any) -> None:
        super()._refuse_sizes(pipeline)
        config, scale = pipeline.transformer.config, pipeline.vae_scale_factor
        if (config.patch_size, scale, config.learn_sigma) != (2, PIXELS, True):
            raise ModelRefusedError(
                f"the transformer has patch_size {config.patch_size!r:.20} and learn_sigma {config.learn_sigma!r:.20}, "
                f"with {scale} pixels to a latent; the pipeline is made for 2, true and {PIXELS}"
            )

    def _side(self, pipeline: Any) -> int:
        return cast(int, pipeline.transformer.config.sample_size)

    @torch.no_grad()
    def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Encode as the pipeline does; all but BERT's first position ([CLS]) free."""
        streams, masks = {}, {}
        for number, (stream, length) in enumerate(LENGTHS.items()):
            states, _, mask, _ = self.pipeline.encode_prompt(
                list(prompts), self.device, num_images_per_prompt=1, do_classifier_free_guidance=False,
                max_sequence_length=length, text_encoder_index=number,
            )  # fmt: skip
            streams[stream], masks["mask_2" if number else "mask"] = states.float(), mask
        free = dict(zip(streams, mark_all_free(*streams.values()), strict=True))
        free["text"][0] = False
        return PromptEmbeds(streams, free, masks)

    def start_condition(self) -> PromptEmbeds:
        """Return the empty prompt as one that can be inverted in every row: set apart, and with nothing hidden."""
        start = self.unmasked_condition([""])
        return start.with_streams({name: spread_rows(stream) for name, stream in start.streams.items()})

    def unmasked_condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Encode prompts with every row seen: their last row is copied over those that padding hides."""
        masked = self.condition(prompts)
        pairs = zip(masked.streams.items(), masked.extras.values(), strict=True)
        filled = {name: fill_hidden_rows(stream, mask) for (name, stream), mask in pairs}
        return PromptEmbeds(filled, masked.free, {name: torch.ones_like(mask) for name, mask in masked.extras.items()})

    def _text_lengths(self) -> Mapping[str, tuple[Any, int]]:
        tokenizers = {"text_encoder": self.pipeline.tokenizer, "text_encoder_2": self.pipeline.tokenizer_2}
        return {name: (one, length) for (name, one), length in zip(tokenizers.items(), LENGTHS.values(), strict=True)}

    def _call(self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds) -> torch.Tensor:
        transformer, (rows, columns) = self.pipeline.transformer, noisy.shape[-2:]
        grid = rows // 2, columns // 2
        region = get_resize_crop_region_for_grid(grid, 512 // PIXELS // 2)
        original = inspect.signature(type(self.pipeline).__call__).parameters["original_size"].default
        sizes = noisy.new_tensor([[*original, rows * PIXELS, columns * PIXELS, 0, 0]])
        output = transformer(
            noisy,
            timesteps.to(noisy.dtype),
            encoder_hidden_states=prompt_embeds.streams["text"],
            text_embedding_mask=prompt_embeds.extras["mask"],
            encoder_hidden_states_t5=prompt_embeds.streams["t5"],
            text_embedding_mask_t5=prompt_embeds.extras["mask_2"],
            image_meta_size=sizes.repeat(len(noisy), 1),
            style=torch.zeros_like(timesteps),
            image_rotary_emb=get_2d_rotary_pos_embed(
                transformer.inner_dim // transformer.num_heads, region, grid, device=self.device, output_type="pt"
            ),
        ).sample
        # The variance is in the second half of the channels.
        return cast(torch.Tensor, output[:, : noisy.shape[1]])

    def _prompt_arguments(self, prompt_embeds: PromptEmbeds) -> dict[str, torch.Tensor]:
        return {
            "prompt_embeds": prompt_embeds.streams["text"],
            "prompt_attention_mask": prompt_embeds.extras["mask"],
            "prompt_embeds_2": prompt_embeds.streams["t5"],
            "prompt_attention_mask_2": prompt_embeds.extras["mask_2"],
        }

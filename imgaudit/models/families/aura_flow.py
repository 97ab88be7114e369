"""AuraFlow: T5's states without a mask, where padding is rows of zeros, predicting flows."""

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.families.transformer import TransformerDenoiser, mark_all_free, spread_rows


class AuraFlowDenoiser(TransformerDenoiser):
    """An AuraFlowPipeline as a Denoiser.

    Stream: "text", 256 rows, all of which the network sees; those of padding are zeros. Images are as large as the
    pipeline makes them by default, 1024 pixels, or as the network's grid of learned positions if that is smaller: the
    transformer's sample_size is that of an early stage of training.
    """

    shifts_latents = False

    def __init__(self, pipeline: Any, fingerprint: str, device: torch.device | str = "cpu") -> None:
        """Freeze a pipeline and move it to a device.

        Raises ModelRefusedError as the other transformers do, and for a tokenizer that makes nothing of an empty text.
        """
        super().__init__(pipeline, fingerprint, device)
        self._refuse_tokenizer()

    def _refuse_tokenizer(self) -> None:
        if not self.pipeline.tokenizer("").input_ids:
            raise ModelRefusedError(
                "the tokenizer makes no token of an empty prompt, so there is nothing that an inversion could start "
                "from; expected one that begins or ends every text with a token"
            )

    def _side(self, pipeline: Any) -> int:
        """Return the side of the latents of the pipeline's own size, as far as the network has positions for it."""
        grid = pipeline.transformer.config.pos_embed_max_size
        pixels = inspect.signature(type(pipeline).__call__).parameters["height"].default
        most = math.isqrt(grid) * pipeline.transformer.config.patch_size if type(grid) is int and grid > 0 else 0
        return int(min(pixels // pipeline.vae_scale_factor, most))

    @torch.no_grad()
    def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Encode as the pipeline does; all positions are free."""
        text, _, _, _ = self.pipeline.encode_prompt(
            prompt=list(prompts), do_classifier_free_guidance=False, num_images_per_prompt=1, device=self.device,
            max_sequence_length=self.max_sequence_length,
        )  # fmt: skip
        [free] = mark_all_free(text)
        return PromptEmbeds({"text": text.float()}, {"text": free})

    def start_condition(self) -> PromptEmbeds:
        """Return the last row of the empty prompt in every place, set apart.

        Rows of zeros are no place to start from: the network normalises each row, so that the smallest step away from
        zeros makes a whole row of it, and all of them have the same gradient.
        """
        null = self.null_condition()
        text = null.streams["text"]
        last = int(text[0].any(dim=1).nonzero().max())
        return null.with_streams({"text": spread_rows(text[:, last : last + 1].expand_as(text))})

    def _text_lengths(self) -> Mapping[str, tuple[Any, int]]:
        return {"text_encoder": (self.pipeline.tokenizer, self.max_sequence_length)}

    def _call(self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds) -> torch.Tensor:
        output = self.pipeline.transformer(
            noisy,
            encoder_hidden_states=prompt_embeds.streams["text"],
            timestep=((timesteps + 1) / self.schedule.num_train_timesteps).to(noisy.dtype),
        ).sample
        return cast(torch.Tensor, output)

    def _prompt_arguments(self, prompt_embeds: PromptEmbeds) -> dict[str, torch.Tensor]:
        text = prompt_embeds.streams["text"]
        # The pipeline asks for a mask, and does nothing with it.
        return {"prompt_embeds": text, "prompt_attention_mask": text.new_ones(text.shape[:2])}

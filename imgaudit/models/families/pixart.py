"""PixArt-alpha and PixArt-Sigma: T5's states under a padding mask, predicting noise."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.schedules import NoiseSchedule, Schedule
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.families.latent import tell_few_steps
from imgaudit.models.families.masked_text import MaskedTextDenoiser, build_masked_condition

CONDITIONED_SIDE = 128
"""Side of the latents at which PixArt-alpha's pipeline tells the network the size of the image, and only there."""


class PixArtDenoiser(MaskedTextDenoiser):
    """A PixArtSigmaPipeline as a Denoiser.

    The pipeline lower-cases prompts; it is told not to clean them of HTML as well, for which it would need two more
    libraries.
    """

    prediction_type = "epsilon"
    shifts_latents = False

    def _read_schedule(self, scheduler: Any) -> Schedule:
        kind = scheduler.config.get("prediction_type", "epsilon")
        if kind != "epsilon" or not hasattr(scheduler, "alphas_cumprod"):
            raise ModelRefusedError(
                f"the scheduler is {type(scheduler).__name__} with prediction_type {kind!r:.80}; PixArt predicts "
                "epsilon under a schedule of alphas"
            )
        return NoiseSchedule(scheduler.alphas_cumprod.double().cpu())

    @property
    def no_null(self) -> str:
        """Empty, unless the scheduler is one of models that sample in a few steps."""
        return tell_few_steps(self.pipeline.scheduler)

    @torch.no_grad()
    def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Encode as the pipeline does; all positions are free, as T5 has no BOS."""
        text, mask, _, _ = self.pipeline.encode_prompt(
            prompt=list(prompts), do_classifier_free_guidance=False, num_images_per_prompt=1, device=self.device,
            clean_caption=False, max_sequence_length=self.max_sequence_length,
        )  # fmt: skip
        return build_masked_condition(text, mask, first_is_free=True)

    def _text_lengths(self) -> Mapping[str, tuple[Any, int]]:
        return {"text_encoder": (self.pipeline.tokenizer, self.max_sequence_length)}

    def _timesteps(self, timesteps: torch.Tensor) -> torch.Tensor:
        return timesteps

    def _inputs(self, noisy: torch.Tensor) -> Mapping[str, Any]:
        return {"added_cond_kwargs": {"resolution": None, "aspect_ratio": None}}


class PixArtAlphaDenoiser(PixArtDenoiser):
    """A PixArtAlphaPipeline as a Denoiser: shorter prompts, and at 1024 pixels the network is told an image's size."""

    max_sequence_length = 120

    @property
    def fewest_steps(self) -> int:  # type: ignore[override]
        """2: at one step the pipeline takes the scheduler's second result, which only those of a few steps all have."""
        return 1 if self.no_null else 2

    def _refuse_sizes(self, pipeline: Any) -> None:
        super()._refuse_sizes(pipeline)
        transformer = pipeline.transformer
        if transformer.use_additional_conditions and transformer.config.sample_size != CONDITIONED_SIDE:
            raise ModelRefusedError(
                f"the transformer takes the size of the image, which the pipeline gives only where sample_size is "
                f"{CONDITIONED_SIDE}, not {transformer.config.sample_size}"
            )

    def _inputs(self, noisy: torch.Tensor) -> Mapping[str, Any]:
        if self.pipeline.transformer.config.sample_size != CONDITIONED_SIDE:
            return super()._inputs(noisy)
        height, width = (side * self.pipeline.vae_scale_factor for side in noisy.shape[-2:])
        size = noisy.new_tensor([[height, width]]).expand(len(noisy), -1)
        return {"added_cond_kwargs": {"resolution": size, "aspect_ratio": size[:, :1] / size[:, 1:]}}

"""UNets: what their adapters share, and Stable Diffusion 1.x and 2.x, predicting noise or velocity."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, cast

import torch

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.schedules import NoiseSchedule, PredictionType
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.families.latent import MAX_RESOLUTION, tell_few_steps
from imgaudit.models.families.mixed_words import MixedWordsDenoiser

GUIDANCE = 1.0
"""Guidance embedded when errors are measured, for UNets that take one: at this scale a guidance-distilled UNet imitates
its teacher's conditional prediction, whose target is the noise or the velocity (Meng et al. 2023, arXiv 2210.03142).
Its pipeline embeds w = guidance_scale - 1, which is then 0."""

SUPPORTED_PREDICTIONS = ("epsilon", "v_prediction", "sample")


class AnyUNetDenoiser(MixedWordsDenoiser):
    """A pipeline around a UNet as a Denoiser, whatever its prompts become."""

    network_name = "unet"
    tokenizers: ClassVar[Mapping[str, str]]
    """The pipeline's name for each text encoder's tokenizer; all of them split prompts alike."""

    def __init__(self, pipeline: Any, fingerprint: str, device: torch.device | str = "cpu") -> None:
        """Freeze a pipeline and move it to a device.

        Raises ModelRefusedError for weights that are not finite, an unknown prediction type, sizes that no image has,
        or a UNet that takes more than text (inpainting).
        """
        kind = pipeline.scheduler.config.get("prediction_type", "epsilon")
        if kind not in SUPPORTED_PREDICTIONS:
            raise ModelRefusedError(
                f"the scheduler's prediction_type must be one of {SUPPORTED_PREDICTIONS}, not {kind!r}"
            )
        self.prediction_type = cast(PredictionType, kind)
        if pipeline.unet.config.in_channels != pipeline.vae.config.latent_channels:
            raise ModelRefusedError(
                f"the UNet takes {pipeline.unet.config.in_channels} channels but latents have "
                f"{pipeline.vae.config.latent_channels}; only plain text-to-image models can be audited"
            )
        _refuse_sides(pipeline)
        super().__init__(pipeline, fingerprint, device)
        self.schedule = NoiseSchedule(pipeline.scheduler.alphas_cumprod.double().cpu())

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, side, side) of the latents the UNet was trained on."""
        side = int(self.pipeline.unet.config.sample_size)
        return int(self.pipeline.unet.config.in_channels), side, side

    @property
    def is_guided_by_null(self) -> bool:
        """False for UNets that embed the guidance scale: their pipeline makes no second pass."""
        return self._guidance_width is None

    @property
    def _guidance_width(self) -> int | None:
        """Width of the embedding of the guidance scale, of UNets that take one."""
        return cast(int | None, self.pipeline.unet.config.get("time_cond_proj_dim"))

    @property
    def no_null(self) -> str:
        """Guidance-distilled UNets embed the guidance scale; consistency and turbo schedulers come with models whose
        empty prompt was never trained as a null."""
        if self._guidance_width is not None:
            return "the model is guidance-distilled (its UNet embeds the guidance scale): it has no null branch"
        return tell_few_steps(self.pipeline.scheduler)

    @abstractmethod
    def _network_arguments(self, prompt_embeds: PromptEmbeds) -> dict[str, Any]:
        """Return conditions that `_moved` made as the UNet takes them, by the names of its arguments."""

    def call_unet(
        self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds, guidance_scales: torch.Tensor
    ) -> torch.Tensor:
        """Pass through the UNet once, with a guidance scale of its own for each sample where the UNet embeds one.

        noisy:            (N, C, h, w) latents on the UNet's device and in its dtype
        guidance_scales:  (N,) float32 on the CPU, at least 1: the pipeline's `guidance_scale`; other UNets ignore it
        Returns           (N, C, h, w), what the UNet predicts
        """
        embedded = None
        if self._guidance_width is not None:
            embedded = self.pipeline.get_guidance_scale_embedding(
                guidance_scales - 1, embedding_dim=self._guidance_width
            ).to(noisy)
        arguments = self._network_arguments(prompt_embeds)
        return cast(torch.Tensor, self.pipeline.unet(noisy, timesteps, timestep_cond=embedded, **arguments).sample)

    def _call(self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds) -> torch.Tensor:
        return self.call_unet(noisy, timesteps, prompt_embeds, torch.full((len(noisy),), GUIDANCE))

    def _text_lengths(self) -> Mapping[str, tuple[Any, int]]:
        tokenizers = {name: getattr(self.pipeline, tokenizer) for name, tokenizer in self.tokenizers.items()}
        return {name: (tokenizer, int(tokenizer.model_max_length)) for name, tokenizer in tokenizers.items()}

    def _token_rows(self) -> Mapping[str, str]:
        return {"text": "text_encoder"}


class UNetDenoiser(AnyUNetDenoiser):
    """A StableDiffusionPipeline as a Denoiser: frozen weights, evaluation mode, its own scheduler for sampling."""

    tokenizers = MappingProxyType({"text_encoder": "tokenizer"})

    @torch.no_grad()
    def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Encode as the pipeline does, every position but the first (BOS) free."""
        embeds, _ = self.pipeline.encode_prompt(
            prompt=list(prompts), device=self.device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        return PromptEmbeds({"text": embeds.float()}, {"text": mark_free_but_first(embeds)})

    def condition_words(self, weights: torch.Tensor) -> PromptEmbeds:
        """Encode BOS, the mixtures, EOS and padding."""
        states = self._encode_words(weights)[0][0]
        return PromptEmbeds({"text": states.float()}, {"text": mark_free_but_first(states)})

    def _network_arguments(self, prompt_embeds: PromptEmbeds) -> dict[str, Any]:
        return {"encoder_hidden_states": prompt_embeds.streams["text"]}

    def _prompt_arguments(self, prompt_embeds: PromptEmbeds) -> dict[str, torch.Tensor]:
        return {"prompt_embeds": prompt_embeds.streams["text"]}


def mark_free_but_first(states: torch.Tensor) -> torch.Tensor:
    """Return, for (N, tokens, width) states of a text encoder, (tokens,) bool: true but for BOS."""
    return torch.arange(states.shape[1]) > 0


def _refuse_sides(pipeline: Any) -> None:
    side, most = pipeline.unet.config.sample_size, MAX_RESOLUTION // pipeline.vae_scale_factor
    if type(side) is not int or not 1 <= side <= most:
        raise ModelRefusedError(
            f"the UNet's sample_size is {side!r:.80}; expected the side of the latents, a whole number from 1 to {most}"
        )

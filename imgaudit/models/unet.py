"""The UNet family: Stable Diffusion 1.x and 2.x, predicting noise or velocity."""

import math
from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from typing import Any, cast

import torch
from diffusers import StableDiffusionPipeline

from imgaudit.denoiser import PromptEmbeds
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.inspection import AGAIN
from imgaudit.schedules import NoiseSchedule, Prediction, PredictionType

DISTILLED_SCHEDULERS = ("LCMScheduler", "TCDScheduler")
"""Schedulers that only distilled models are sampled with."""

SUPPORTED_PREDICTIONS = ("epsilon", "v_prediction", "sample")

MAX_RESOLUTION = 4096
"""Pixels per side; Stable Diffusion has 512 or 768, and a config.json that asks for more fills the memory."""


class UNetDenoiser:
    """A StableDiffusionPipeline as a Denoiser: frozen weights, evaluation mode, its own scheduler for sampling."""

    def __init__(self, pipeline: StableDiffusionPipeline, fingerprint: str, device: torch.device | str = "cpu") -> None:
        """Freeze a pipeline and move it to a device.

        Raises ModelRefusedError for weights that are not finite, an unknown prediction type, sizes that no image has,
        or a UNet that takes more than text (inpainting).
        """
        self.pipeline = pipeline.to(device)
        self.fingerprint = fingerprint
        self.device = torch.device(device)
        self.network_evaluations = 0
        pipeline.set_progress_bar_config(disable=True)
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
        _refuse_sizes(pipeline)
        for name in ("unet", "vae", "text_encoder"):
            network = getattr(pipeline, name)
            network.requires_grad_(False).eval()
            for key, weight in chain(network.named_parameters(), network.named_buffers()):
                if not bool(torch.isfinite(weight).all()):
                    raise ModelRefusedError(f"{name!r} has weights that are not finite (first: {key!r}); {AGAIN}")
        self.schedule = NoiseSchedule(pipeline.scheduler.alphas_cumprod.double().cpu())
        pipeline.unet.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, module: torch.nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        sample = arguments[0] if arguments else keywords["sample"]
        states = keywords.get("encoder_hidden_states")
        backward = torch.is_grad_enabled() and states is not None and states.requires_grad
        self.network_evaluations += len(sample) * (2 if backward else 1)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, side, side) of the latents the UNet was trained on."""
        side = int(self.pipeline.unet.config.sample_size)
        return int(self.pipeline.unet.config.in_channels), side, side

    @property
    def resolution(self) -> int:
        """Side of the latents times the autoencoder's scale."""
        return self.latent_shape[1] * int(self.pipeline.vae_scale_factor)

    def _shift(self) -> float:
        return float(self.pipeline.vae.config.get("shift_factor") or 0.0)

    @torch.no_grad()
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Posterior mode, shifted and scaled as the UNet expects: (N, C, h, w) float32."""
        vae = self.pipeline.vae
        mode = vae.encode(images.to(self.device, vae.dtype)).latent_dist.mode()
        return ((mode - self._shift()) * vae.config.scaling_factor).float()

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Images (N, 3, H, W) float32 on the CPU, clipped to [-1, 1]."""
        vae = self.pipeline.vae
        raw = latents.to(self.device, vae.dtype) / vae.config.scaling_factor + self._shift()
        return cast(torch.Tensor, vae.decode(raw).sample).float().clamp(-1, 1).cpu()

    @torch.no_grad()
    def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """The pipeline's own text encoding, every position but the first (BOS) free."""
        embeds, _ = self.pipeline.encode_prompt(
            prompt=list(prompts), device=self.device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        free = torch.ones(embeds.shape[1], dtype=torch.bool)
        free[0] = False
        return PromptEmbeds({"text": embeds.float()}, {"text": free})

    @property
    def mixture_shape(self) -> tuple[int, int]:
        """(positions between BOS and EOS, tokens of the vocabulary): one row of weights for `condition_mixture`."""
        return int(self.pipeline.tokenizer.model_max_length) - 2, len(self.pipeline.tokenizer)

    def condition_mixture(self, weights: torch.Tensor) -> PromptEmbeds:
        """Conditions from mixtures of tokens instead of tokens, differentiable in the weights.

        weights:  (N, positions - 2, vocabulary) float32, each row a distribution over the vocabulary
        """
        tokens = self.pipeline.text_encoder.get_input_embeddings().weight
        return self._encode_mixed(weights.to(tokens) @ tokens)

    @cached_property
    def word_ids(self) -> torch.Tensor:
        """Token ids of `words`: whole printable words that the tokenizer reads as the same single token."""
        tokenizer = self.pipeline.tokenizer
        ids = [number for number in range(len(tokenizer)) if number not in tokenizer.all_special_ids]
        texts = [text.strip() for text in tokenizer.batch_decode([[number] for number in ids])]
        again = tokenizer(texts, add_special_tokens=False).input_ids
        stable = [
            number
            for number, text, read in zip(ids, texts, again, strict=True)
            if text and text.isprintable() and " " not in text and read == [number]
        ]
        return torch.tensor(stable, device=self.device)

    @cached_property
    def words(self) -> Sequence[str]:
        """Whole words of the tokenizer's vocabulary that are read again as the same single token."""
        return [text.strip() for text in self.pipeline.tokenizer.batch_decode([[n] for n in self.word_ids.tolist()])]

    def condition_words(self, weights: torch.Tensor) -> PromptEmbeds:
        """BOS, the mixtures, EOS and padding, through the text encoder."""
        tokens = self.pipeline.text_encoder.get_input_embeddings().weight
        return self._encode_mixed(weights.to(tokens) @ tokens[self.word_ids])

    def _encode_mixed(self, mixed: torch.Tensor) -> PromptEmbeds:
        """Token embeddings (N, up to positions - 2, width) between BOS and EOS, padded, through the text encoder."""
        encoder, tokenizer = self.pipeline.text_encoder, self.pipeline.tokenizer
        embedding, (count, inner, _) = encoder.get_input_embeddings(), mixed.shape
        length = int(tokenizer.model_max_length)
        padding = [tokenizer.eos_token_id, *[tokenizer.pad_token_id] * (length - inner - 2)]
        ends = embedding.weight[[tokenizer.bos_token_id, *padding]].expand(count, -1, -1)
        whole = torch.cat([ends[:, :1], mixed, ends[:, 1:]], dim=1)
        # The encoder takes token ids only, so its lookup is answered with the mixture.
        handle = embedding.register_forward_hook(lambda module, arguments, output: whole)
        try:
            ids = torch.full((count, length), tokenizer.eos_token_id, device=self.device)
            states = encoder(ids)[0]
        finally:
            handle.remove()
        free = torch.ones(length, dtype=torch.bool)
        free[0] = False
        return PromptEmbeds({"text": states.float()}, {"text": free})

    @property
    def no_null(self) -> str:
        """Guidance-distilled UNets embed the guidance scale; consistency and turbo schedulers come with models whose
        empty prompt was never trained as a null."""
        scheduler = type(self.pipeline.scheduler).__name__
        if self.pipeline.unet.config.get("time_cond_proj_dim") is not None:
            return "the model is guidance-distilled (its UNet embeds the guidance scale): it has no null branch"
        if scheduler in DISTILLED_SCHEDULERS:
            return f"the model samples in a few steps ({scheduler}): it is distilled and has no null branch"
        return ""

    def cut_tokens(self, prompt: str) -> dict[str, int]:
        """Tokens beyond the text encoder's length, which the pipeline drops."""
        tokenizer = self.pipeline.tokenizer
        whole = len(tokenizer(prompt, truncation=False, verbose=False).input_ids)
        cut = whole - int(tokenizer.model_max_length)
        return {"text_encoder": cut} if cut > 0 else {}

    def null_condition(self) -> PromptEmbeds:
        """The empty prompt, which SD 1.x and 2.x were trained on by caption dropout."""
        return self.condition([""])

    def predict(self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds) -> Prediction:
        """One pass of the UNet; float32 out, differentiable in the streams."""
        unet = self.pipeline.unet
        noisy, timesteps = noisy.to(self.device), timesteps.to(self.device)
        text = prompt_embeds.streams["text"].to(self.device, unet.dtype)
        output = unet(noisy.to(unet.dtype), timesteps, encoder_hidden_states=text).sample
        # Differences of nearly equal predictions lose their digits in half precision, so they are formed in float32.
        output = output if output.dtype == torch.float64 else output.float()
        return Prediction(output, noisy, timesteps, self.prediction_type, self.schedule)

    @torch.no_grad()
    def sample(
        self,
        prompt_embeds: PromptEmbeds,
        seeds: Sequence[int],
        *,
        guidance_scale: float,
        num_inference_steps: int,
        latents: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The pipeline's own call; images on the CPU."""
        dtype = self.pipeline.unet.dtype
        text = prompt_embeds.streams["text"].to(self.device, dtype)
        null = self.null_condition().repeat(len(text)).streams["text"].to(self.device, dtype)
        images = self.pipeline(
            prompt_embeds=text,
            negative_prompt_embeds=null,
            guidance_scale=guidance_scale,
            num_inference_steps=num_inference_steps,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            latents=None if latents is None else latents.to(self.device, dtype),
            output_type="pt",
        ).images
        return cast(torch.Tensor, images).float().cpu() * 2 - 1


def _refuse_sizes(pipeline: StableDiffusionPipeline) -> None:
    side, most = pipeline.unet.config.sample_size, MAX_RESOLUTION // pipeline.vae_scale_factor
    if type(side) is not int or not 1 <= side <= most:
        raise ModelRefusedError(
            f"the UNet's sample_size is {side!r:.80}; expected the side of the latents, a whole number from 1 to {most}"
        )
    scale, shift = pipeline.vae.config.scaling_factor, pipeline.vae.config.get("shift_factor") or 0.0
    if not scale or not all(isinstance(factor, int | float) and math.isfinite(factor) for factor in (scale, shift)):
        raise ModelRefusedError(
            f"the autoencoder's scaling_factor is {scale!r:.80} and its shift_factor {shift!r:.80}; expected finite "
            "numbers, the first other than 0"
        )

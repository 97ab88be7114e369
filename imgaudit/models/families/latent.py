"""Pipelines that denoise an autoencoder's latents: what their adapters share, whatever the network is.

A family says which streams its prompts become, how its pipeline calls the network, and what its pipeline is given. The
rest is here: frozen weights, counting, the autoencoder, and sampling by the pipeline itself.
"""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import chain
from types import MappingProxyType
from typing import Any, ClassVar, cast

import torch

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.schedules import Prediction, PredictionType, Schedule
from imgaudit.diffusion.seeds import draw_noise
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.files.inspection import AGAIN
from imgaudit.models.mixed_words import find_single_token_words

MAX_RESOLUTION = 4096
"""Pixels per side; the families have 512 to 4096, and a config.json that asks for more fills the memory."""

DISTILLED_SCHEDULERS = ("LCMScheduler", "TCDScheduler")
"""Schedulers that only distilled models are sampled with."""


class LatentDenoiser(ABC):
    """A pipeline around a network and an autoencoder as a Denoiser: frozen, in evaluation mode, sampled by itself."""

    network_name: str
    """The pipeline's name for the network that denoises, whose passes are the network evaluations."""
    null_network_name: ClassVar[str] = ""
    """The pipeline's name for the network that predicts the null, where it is another one; its passes count too."""
    draws_tokens: ClassVar[bool] = False
    """True where the pipeline draws noise in another order than (C, h, w), so that a seed would mean other noise."""
    offloads_layers: ClassVar[bool] = True
    """False where the pipeline reads the place of a network's weights, which wait elsewhere when layers are moved."""
    guidance_name: ClassVar[str] = "guidance_scale"
    """The pipeline's name for the guidance scale."""
    guidance_offset: ClassVar[float] = 0.0
    """What the pipeline's guidance scale is lower by: 1 for pipelines in which 0 means none, as 1 does for others."""
    sampling_options: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Further arguments of the pipeline's call."""
    prediction_type: PredictionType
    """Kind of the network's output."""
    schedule: Schedule
    """The training schedule."""
    fewest_steps: int = 1
    """Sampling steps that the pipeline's scheduler needs at least."""
    shifts_latents: ClassVar[bool] = True
    """False where the pipeline scales latents only, whatever shift_factor its autoencoder names."""

    def __init__(self, pipeline: Any, fingerprint: str, device: torch.device | str = "cpu") -> None:
        """Freeze a pipeline and move it to a device.

        Raises ModelRefusedError for weights that are not finite, or factors of latents that are none.
        """
        self.pipeline = pipeline.to(device)
        self.fingerprint = fingerprint
        self.device = torch.device(device)
        self.network_evaluations = 0
        self.network = getattr(pipeline, self.network_name)
        pipeline.set_progress_bar_config(disable=True)
        self._refuse_factors()
        for name, part in pipeline.components.items():
            if isinstance(part, torch.nn.Module):
                part.requires_grad_(False).eval()
                self._refuse_weights(name, part)
        # Latents are the first argument of any such network, under one name or another.
        self._first = next(iter(inspect.signature(self.network.forward).parameters))
        for network in self.networks.values():
            network.register_forward_pre_hook(self._count, with_kwargs=True)

    @property
    def networks(self) -> dict[str, Any]:
        """The networks that predict, by the pipeline's names: one, or two where another one predicts the null."""
        names = [name for name in (self.network_name, self.null_network_name) if name]
        return {name: getattr(self.pipeline, name) for name in names}

    def _refuse_weights(self, name: str, network: torch.nn.Module) -> None:
        for key, weight in chain(network.named_parameters(), network.named_buffers()):
            if not bool(torch.isfinite(weight).all()):
                raise ModelRefusedError(f"{name!r} has weights that are not finite (such as {key!r}); {AGAIN}")

    def _refuse_factors(self) -> None:
        config = self.pipeline.vae.config
        scale, shift = config.scaling_factor, config.get("shift_factor") or 0.0
        if not scale or not all(isinstance(factor, int | float) and math.isfinite(factor) for factor in (scale, shift)):
            raise ModelRefusedError(
                f"the autoencoder's scaling_factor is {scale!r:.80} and its shift_factor {shift!r:.80}; expected "
                "finite numbers, the first other than 0"
            )
        if shift and not self.shifts_latents:
            raise ModelRefusedError(
                f"the autoencoder's shift_factor is {shift!r:.80}, which the pipeline does not apply; expected none, "
                "or 0"
            )

    def _count(self, module: torch.nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        latents = arguments[0] if arguments else keywords[self._first]
        given = _tensors([*arguments, *keywords.values()])
        backward = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given)
        self.network_evaluations += len(latents) * (2 if backward else 1)

    @property
    def is_guided_by_null(self) -> bool:
        """False for models whose guidance scale is an input of the network: their pipeline makes no second pass."""
        return True

    @property
    def no_null(self) -> str:
        """Reason why there is no null branch to compare with; empty where there is one."""
        return ""

    @property
    @abstractmethod
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, side, side) of the latents the network was trained on."""

    @property
    def resolution(self) -> int:
        """Side of the latents times the autoencoder's scale."""
        return self.latent_shape[1] * int(self.pipeline.vae_scale_factor)

    def _factors(self) -> tuple[Any, Any]:
        """Return scale and shift of latents, numbers or (1, C, 1, 1): latents = (mode - shift) * scale."""
        config = self.pipeline.vae.config
        return config.scaling_factor, float(config.get("shift_factor") or 0.0)

    @contextmanager
    def _autoencoder(self) -> Iterator[Any]:
        """Yield the autoencoder in the precision in which it is to be used."""
        yield self.pipeline.vae

    @torch.no_grad()
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Return the posterior mode, shifted and scaled as the network expects: (N, C, h, w) float32."""
        scale, shift = self._factors()
        with self._autoencoder() as vae:
            mode = self._encode_raw(vae, images.to(self.device, vae.dtype))
            return cast(torch.Tensor, (mode - shift) * scale).float()

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Return images (N, 3, H, W) float32 on the CPU, clipped to [-1, 1]."""
        scale, shift = self._factors()
        with self._autoencoder() as vae:
            raw = latents.to(self.device, vae.dtype) / scale + shift
            return self._decode_raw(vae, raw.to(vae.dtype)).float().clamp(-1, 1).cpu()

    def _encode_raw(self, vae: Any, images: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, vae.encode(images).latent_dist.mode())

    def _decode_raw(self, vae: Any, latents: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, vae.decode(latents).sample)

    @abstractmethod
    def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Encode prompts as the pipeline does."""

    def unmasked_condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Encode prompts as the pipeline does: without a mask, every row is seen as it is."""
        return self.condition(prompts)

    @cached_property
    def vocabulary(self) -> Sequence[str]:
        """Whole words that the pipeline's first tokenizer reads as one token."""
        tokenizers = [name for name in self.pipeline.components if name.startswith(("processor", "tokenizer"))]
        present = [getattr(self.pipeline, name) for name in sorted(tokenizers) if getattr(self.pipeline, name)]
        # A processor has its tokenizer within.
        return list(find_single_token_words(getattr(present[0], "tokenizer", present[0]))) if present else []

    def null_condition(self) -> PromptEmbeds:
        """Return the empty prompt, which the model was trained on by caption dropout."""
        return self.condition([""])

    def start_condition(self) -> PromptEmbeds:
        """Return the null condition."""
        return self.null_condition()

    @abstractmethod
    def _text_lengths(self) -> Mapping[str, tuple[Any, int]]:
        """Return, per text encoder, its tokenizer and the number of tokens that the pipeline lets it see."""

    def characters_read(self, prompt: str) -> dict[str, int]:
        """Return where each text encoder that cuts the prompt stops reading, by the offsets of the tokens it keeps."""
        read = {}
        for name in self.cut_tokens(prompt):
            tokenizer, length = self._text_lengths()[name]
            if getattr(tokenizer, "is_fast", False):
                kept = tokenizer(prompt, truncation=True, max_length=length, return_offsets_mapping=True)
                read[name] = max((end for _, end in kept["offset_mapping"]), default=0)
        return read

    def _token_rows(self) -> Mapping[str, str]:
        """Return, per stream, the text encoder whose tokens are its rows, from the first on; none by default."""
        return {}

    def token_spans(self, prompt: str) -> dict[str, list[tuple[int, int, int]]]:
        """Return tokens with their offsets, special ones left out; without streams whose tokenizer has no offsets."""
        spans = {}
        for stream, encoder in self._token_rows().items():
            tokenizer, length = self._text_lengths()[encoder]
            if getattr(tokenizer, "is_fast", False):
                kept = tokenizer(
                    prompt, truncation=True, max_length=length, return_offsets_mapping=True,
                    return_special_tokens_mask=True,
                )  # fmt: skip
                marked = zip(kept["offset_mapping"], kept["special_tokens_mask"], strict=True)
                spans[stream] = [(*span, row) for row, (span, special) in enumerate(marked) if not special]
        return spans

    def cut_tokens(self, prompt: str) -> dict[str, int]:
        """Count the tokens beyond each text encoder's length, which the pipeline drops."""
        cut = {
            name: len(tokenizer(prompt, truncation=False, verbose=False).input_ids) - length
            for name, (tokenizer, length) in self._text_lengths().items()
        }
        return {name: count for name, count in cut.items() if count > 0}

    def _moved(self, prompt_embeds: PromptEmbeds) -> PromptEmbeds:
        """Return conditions on the network's device, their streams in its dtype."""
        return PromptEmbeds(
            {name: stream.to(self.device, self.network.dtype) for name, stream in prompt_embeds.streams.items()},
            prompt_embeds.free,
            {name: extra.to(self.device) for name, extra in prompt_embeds.extras.items()},
        )

    @abstractmethod
    def _call(self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds) -> torch.Tensor:
        """One pass of the network as its pipeline makes it, (N, C, h, w) in and out; all on its device and in its
        dtype."""

    def predict(self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds) -> Prediction:
        """Pass through the network once; float32 out, differentiable in the streams."""
        noisy, timesteps = noisy.to(self.device), timesteps.to(self.device)
        output = self._call(noisy.to(self.network.dtype), timesteps, self._moved(prompt_embeds))
        # Differences of nearly equal predictions lose their digits in half precision, so they are formed in float32.
        output = output if output.dtype == torch.float64 else output.float()
        return Prediction(output, noisy, timesteps, self.prediction_type, self.schedule)

    def spare_memory(self) -> bool:
        """Checkpoint gradients: keep what goes into each block of the network and compute the rest once more on the
        way back. Blocks are frozen and draw nothing at random, so gradients are the same."""
        if self.network.is_gradient_checkpointing or not self.network._supports_gradient_checkpointing:
            return False
        self.network.enable_gradient_checkpointing()
        return True

    @abstractmethod
    def _prompt_arguments(self, prompt_embeds: PromptEmbeds) -> dict[str, Any]:
        """Return conditions that `_moved` made as the pipeline's call takes them, by the names of its arguments.

        Those of the null condition have the same names after "negative_".
        """

    def _sampling_arguments(self, prompt_embeds: PromptEmbeds, guidance_scale: float) -> dict[str, Any]:
        """Return what the pipeline's call takes besides steps, seeds and latents, for conditions that `_moved` made."""
        arguments = self._prompt_arguments(prompt_embeds)
        if guidance_scale > 1 and self.is_guided_by_null:
            null = self._moved(self.null_condition().repeat(len(prompt_embeds)))
            arguments |= {f"negative_{name}": one for name, one in self._prompt_arguments(null).items()}
        size = {"height": self.resolution, "width": self.resolution}
        return {**arguments, self.guidance_name: guidance_scale - self.guidance_offset, **size, **self.sampling_options}

    def _packed(self, latents: torch.Tensor) -> torch.Tensor:
        """Return latents as the pipeline takes them."""
        return latents

    def _unpacked(self, latents: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """Return what the pipeline holds as latents, (N, C, height, width)."""
        return latents

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
        """Call the pipeline; images on the CPU."""
        if latents is None and self.draws_tokens:
            latents = draw_noise(seeds, self.latent_shape)
        images, *_ = self.pipeline(
            **self._sampling_arguments(self._moved(prompt_embeds), guidance_scale),
            num_inference_steps=num_inference_steps,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            latents=None if latents is None else self._packed(latents).to(self.device, self.network.dtype),
            output_type="pt",
            # As a named field it is called images by one pipeline and image by another.
            return_dict=False,
        )
        return cast(torch.Tensor, images).float().cpu() * 2 - 1


def tell_few_steps(scheduler: Any) -> str:
    """Return why a model has no null branch, as far as its scheduler tells: one of models that sample in a few steps.

    The empty prompt of such models was never trained as a null. Empty for all others.
    """
    name = type(scheduler).__name__
    if name in DISTILLED_SCHEDULERS:
        return f"the model samples in a few steps ({name}): it is distilled and has no null branch"
    return ""


def _tensors(values: Iterable[Any]) -> Iterator[torch.Tensor]:
    """Yield the tensors among arguments, and within those that are mappings or lists."""
    for value in values:
        if isinstance(value, Mapping):
            yield from _tensors(value.values())
        elif isinstance(value, list):
            yield from _tensors(value)
        elif isinstance(value, torch.Tensor):
            yield value

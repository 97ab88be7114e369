"""Diffusion transformers: what their adapters share beyond any network's, so that one more family is a page."""

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.schedules import FlowSchedule, PredictionType, Schedule
from imgaudit.exceptions import ModelRefusedError, UndefinedConversionError
from imgaudit.models.families.latent import MAX_RESOLUTION, LatentDenoiser

OTHER_PATHS = ("invert_sigmas", "stochastic_sampling")
"""Switches of the flow scheduler that turn the path around, or draw noise that no seed decides."""

DEFAULT_SIDE = 1024
"""Pixels per side of the images of pipelines that name no size of their latents: what they make by default."""

GUIDANCE_DISTILLED = (
    "the model is guidance-distilled (its transformer embeds the guidance scale): it has no null branch"
)
"""Reason why models whose guidance scale is an input of the network are not compared with a null."""

SPREAD = 0.5
"""Distance from the empty prompt at which rows start that have nothing else to tell them apart, in units of their root
mean square."""


class TransformerDenoiser(LatentDenoiser):
    """A pipeline around a diffusion transformer as a Denoiser; by default one that predicts flows."""

    network_name = "transformer"
    prediction_type: PredictionType = "flow"
    """Kind of the transformer's output."""
    default_side: ClassVar[int] = DEFAULT_SIDE
    """Pixels per side of the images that the pipeline makes by default, where it names no size of its latents."""
    packing: ClassVar[int] = 1
    """Side of the squares of latents that the pipeline packs into one token's channels; 1 where it packs nothing."""
    max_sequence_length: int = 256
    """Tokens up to which the pipeline pads and cuts prompts for its last text encoder."""

    def __init__(self, pipeline: Any, fingerprint: str, device: torch.device | str = "cpu") -> None:
        """Freeze a pipeline and move it to a device.

        Raises ModelRefusedError for weights that are not finite, a scheduler of another kind, sizes that no image has,
        or a transformer that takes more than text (inpainting, control images).
        """
        self.schedule = self._read_schedule(pipeline.scheduler)
        self._refuse_sizes(pipeline)
        super().__init__(pipeline, fingerprint, device)

    def _read_schedule(self, scheduler: Any) -> Schedule:
        if not isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
            raise ModelRefusedError(
                f"the scheduler is {type(scheduler).__name__}; this model predicts flows, which are sampled with "
                "FlowMatchEulerDiscreteScheduler"
            )
        for switch in OTHER_PATHS:
            if scheduler.config.get(switch):
                raise ModelRefusedError(
                    f"the scheduler sets {switch!r}, with which seeds and timesteps mean something else; delete the key"
                )
        return FlowSchedule(int(scheduler.config.num_train_timesteps))

    def _refuse_sizes(self, pipeline: Any) -> None:
        taken, channels = self._taken(pipeline), self._channels(pipeline) * self.packing**2
        if taken != channels:
            raise ModelRefusedError(
                f"the transformer takes {taken!r:.80} channels but latents have {channels}; only plain "
                "text-to-image models can be audited"
            )
        side, step = self._side(pipeline), max(self._patch(pipeline), self.packing)
        most = MAX_RESOLUTION // pipeline.vae_scale_factor
        if type(side) is not int or not 1 <= side <= most or side % step:
            raise ModelRefusedError(
                f"the transformer's sample_size is {side!r:.80}; expected the side of the latents, a multiple of "
                f"{step} up to {most}"
            )

    def _side(self, pipeline: Any) -> int:
        return cast(int, getattr(pipeline, "default_sample_size", self.default_side // pipeline.vae_scale_factor))

    def _patch(self, pipeline: Any) -> int:
        """Return the side of the squares that the network itself makes one token of."""
        return cast(int, pipeline.transformer.config.patch_size)

    def _taken(self, pipeline: Any) -> Any:
        """Return the number of channels that the network takes."""
        return pipeline.transformer.config.in_channels

    def _channels(self, pipeline: Any) -> int:
        return cast(int, pipeline.vae.config.latent_channels)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, side, side) of the latents the pipeline samples by default, before any packing."""
        return self._channels(self.pipeline), self._side(self.pipeline), self._side(self.pipeline)

    @property
    def _is_step_distilled(self) -> bool:
        """True where model_index.json says so, in the families that have a switch for it."""
        return bool(self.pipeline.config.get("is_distilled"))

    @property
    def is_guided_by_null(self) -> bool:
        """False for models that say that they are distilled to a few steps: they are sampled without guidance."""
        return not self._is_step_distilled

    @property
    def no_null(self) -> str:
        """Empty for families trained with dropped captions, unless the model says that it is distilled.

        What is step-distilled without saying so looks the same from outside.
        """
        if self._is_step_distilled:
            return "the model samples in a few steps (is_distilled in its model_index.json): it has no null branch"
        return ""

    def _sampling_arguments(self, prompt_embeds: PromptEmbeds, guidance_scale: float) -> dict[str, Any]:
        # Of such models some pipelines ignore the scale, and others guide all the same.
        return super()._sampling_arguments(prompt_embeds, 1.0 if self._is_step_distilled else guidance_scale)

    def _sigmas(self, timesteps: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        # Rounded before the division, as the pipelines do: in half precision this is another number.
        return (timesteps + 1).to(dtype) / 1000

    @property
    def words(self) -> Sequence[str]:
        """None: adapters have no search over words unless they say so."""
        return ()

    @property
    def word_positions(self) -> int:
        """No room for them, either."""
        return 0

    def condition_words(self, weights: torch.Tensor) -> PromptEmbeds:
        """Raise UndefinedConversionError: there are no words to mix."""
        raise UndefinedConversionError(
            f"{type(self.pipeline).__name__} has no words to search over, so mixtures of them have no condition"
        )


class PackedDenoiser(TransformerDenoiser):
    """A pipeline that packs latents two by two, as FLUX's does; outside of it they are unpacked, (N, C, h, w)."""

    packing = 2

    def _packed(self, latents: torch.Tensor) -> torch.Tensor:
        """Pack (N, C, h, w) into (N, h/2 * w/2, 4 C), by the pipeline's own method."""
        return cast(torch.Tensor, self.pipeline._pack_latents(latents, *latents.shape))

    def _unpacked(self, tokens: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """Unpack (N, h/2 * w/2, 4 C) into (N, C, h, w), by the pipeline's own method, which counts in pixels."""
        scale = self.pipeline.vae_scale_factor
        latents = self.pipeline._unpack_latents(tokens, height * scale, width * scale, scale)
        # Pipelines that are kin to video have an axis for frames.
        return cast(torch.Tensor, latents.flatten(1, -3))


def refuse_no_shift(pipeline: Any) -> None:
    """Refuse an autoencoder without the shift that some pipelines add before decoding: ModelRefusedError."""
    if pipeline.vae.config.get("shift_factor") is None:
        raise ModelRefusedError("the autoencoder names no shift_factor, without which the pipeline cannot decode")


def mark_all_free(*streams: torch.Tensor) -> list[torch.Tensor]:
    """Return, for each (N, tokens, width) stream, (tokens,) bool: nothing but true."""
    return [torch.ones(stream.shape[1], dtype=torch.bool) for stream in streams]


def spread_rows(rows: torch.Tensor) -> torch.Tensor:
    """Move rows (N, tokens, width) that are nearly equal apart, by the same noise at every call; the first stays.

    Padding is encoded to rows like that. Where text is read without positions, equal rows have equal gradients: an
    inversion from there would move them as one for ever, and be of a single token. The rows differ from what they were
    by opposite amounts, in pairs, so that together they still say nothing.
    """
    pairs = (rows.shape[1] - 1) // 2
    noise = torch.randn((pairs, rows.shape[2]), generator=torch.Generator("cpu").manual_seed(0)).to(rows)
    noise = noise * SPREAD * rows.square().mean().sqrt()
    apart = rows.clone()
    apart[:, 1 : 1 + pairs] += noise
    apart[:, 1 + pairs : 1 + 2 * pairs] -= noise
    return apart

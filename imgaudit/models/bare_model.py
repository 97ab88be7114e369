"""Models of published sizes without their weights: real classes and adapters, for timing and for counting bytes.

On the device "meta" tensors have shapes and no data, so that the bytes of weights can be counted. On any other device
the weights are random, and a pass takes the time that it takes with the published ones.
"""

import inspect
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import diffusers
import torch

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.seeds import draw_seed
from imgaudit.models.families.latent import LatentDenoiser
from imgaudit.models.families.registry import FAMILIES
from imgaudit.models.published import PublishedComponent, PublishedModel
from imgaudit.models.text_processor import NoTokenizer, TextProcessor

LEAST_CHANNELS = 32
"""Channels are kept at multiples of this: networks normalise them in up to 32 groups."""

LEAST_SIDE = 8
"""Side of the smallest latents, which the four levels of a UNet can halve."""

WORDS = tuple(f"{first}{second}e" for first in "bdfgklmnprst" for second in "aiou")
"""Made-up words, for searches among texts."""


def build_bare_model(
    model: PublishedModel, dtype: torch.dtype, device: torch.device | str, *, shrink: int = 1
) -> LatentDenoiser:
    """Build the adapter of a model's family around networks without the published weights, and without text encoders.

    Conditions are noise of the shapes that the text encoders' outputs have, the same for the same text.

    dtype:   of the weights
    device:  "meta" for shapes alone; anywhere else the weights are random, from seed 0
    shrink:  divides channels or layers, and the side of the latents, to fit a small machine
    """
    # Nothing is said of half precision on the CPU, as nothing runs in it there.
    diffusers.utils.logging.set_verbosity_error()
    family = FAMILIES[model.pipeline_class]
    parts: dict[str, Any] = dict.fromkeys(family.components)
    for name, part in model.components.items():
        kind = getattr(diffusers, part.class_name, None)
        if family.components[name].role in ("scheduler", "guider"):
            parts[name] = kind(**part.config)  # type: ignore[misc]
        elif kind is not None:
            with torch.random.fork_rng(devices=[]), _default(dtype), torch.device(device):
                torch.manual_seed(0)
                parts[name] = kind.from_config(shrink_config(part, shrink))
    parts |= {name: TextProcessor(NoTokenizer()) for name, part in family.components.items() if part.is_processor}
    pipeline = getattr(diffusers, family.pipeline_class)(**parts, **family.arguments)
    if shrink > 1 and hasattr(pipeline, "default_sample_size"):
        pipeline.default_sample_size = _shrink_side(pipeline.default_sample_size, shrink)
    adapter = _without_text(family.load_adapter())
    return cast(LatentDenoiser, adapter(pipeline, model, torch.device(device)))


def shrink_config(part: PublishedComponent, times: int) -> dict[str, Any]:
    """Return the configuration of a network of the same kind, with fewer channels or layers and smaller latents.

    >>> part = PublishedComponent(class_name="FluxTransformer2DModel", config={"num_layers": 19, "num_single_layers": 38})
    >>> shrink_config(part, 19)
    {'num_layers': 1, 'num_single_layers': 2}
    """  # noqa: E501
    if times == 1:
        return dict(part.config)
    usual = inspect.signature(getattr(diffusers, part.class_name).__init__).parameters
    config = dict(part.config)
    for name in ("block_out_channels", "encoder_block_out_channels", "decoder_block_out_channels"):
        if name in usual:
            channels = config.get(name, usual[name].default)
            config[name] = [max(LEAST_CHANNELS, one // times // LEAST_CHANNELS * LEAST_CHANNELS) for one in channels]
    if "block_out_channels" in usual and isinstance(config.get("attention_head_dim"), list):
        config["attention_head_dim"] = [max(1, heads // times) for heads in config["attention_head_dim"]]
    for name in ("num_layers", "num_single_layers"):
        if name in usual:
            config[name] = max(1, int(config.get(name, usual[name].default)) // times)
    if isinstance(config.get("sample_size"), int):
        config["sample_size"] = _shrink_side(config["sample_size"], times)
    return config


def _shrink_side(side: int, times: int) -> int:
    return max(LEAST_SIDE, side // times // LEAST_SIDE * LEAST_SIDE)


@contextmanager
def _default(dtype: torch.dtype) -> Any:
    """Make weights of a type from the start, so that no wider copy of them is ever there."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _without_text(adapter: type[LatentDenoiser]) -> Any:
    """Return an adapter without text encoders, and without the checks of weights that have no values of their own."""

    class BareAdapter(adapter):  # type: ignore[misc, valid-type]
        words: Sequence[str] = ()
        vocabulary = WORDS
        pictures: torch.Tensor | None = None

        def __init__(self, pipeline: Any, model: PublishedModel, device: torch.device) -> None:
            self._model = model
            super().__init__(pipeline, "", device)

        def _refuse_weights(self, name: str, network: torch.nn.Module) -> None:
            pass

        def _refuse_tokenizer(self) -> None:
            pass

        def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
            """Return noise for every text."""
            made = [_draw_condition(self._model, text, self.device) for text in prompts]
            return PromptEmbeds.concatenate(made)

        def null_condition(self) -> PromptEmbeds:
            """Return that of the empty text."""
            return self.condition([""])

        def start_condition(self) -> PromptEmbeds:
            """Return that of the empty text."""
            return self.condition([""])

        unmasked_condition = condition

        def cut_tokens(self, prompt: str) -> dict[str, int]:
            """Return that nothing is cut: nothing is read."""
            return {}

        def decode(self, latents: torch.Tensor) -> torch.Tensor:
            """Return images that the autoencoder made, covered by pictures where there are some."""
            return self._cover(super().decode(latents))

        def sample(self, *arguments: Any, **keywords: Any) -> torch.Tensor:
            """Return images that the pipeline made, covered by pictures where there are some."""
            return self._cover(super().sample(*arguments, **keywords))

        def _cover(self, images: torch.Tensor) -> torch.Tensor:
            # Random weights make grey images, which are not compared at all; comparing pictures takes its usual time.
            if self.pictures is None:
                return images
            return self.pictures[torch.arange(len(images)) % len(self.pictures)]

    return BareAdapter


def _draw_condition(model: PublishedModel, text: str, device: torch.device) -> PromptEmbeds:
    """Return noise of the shapes of one condition. Masks have values on every device, as adapters look into them."""
    generator = torch.Generator().manual_seed(draw_seed(0, text, "condition"))
    streams = {name: torch.randn((1, *shape), generator=generator).to(device) for name, shape in model.streams.items()}
    extras: Mapping[str, torch.Tensor] = {
        **{name: torch.ones(1, *shape, device=device) for name, shape in model.extras.items()},
        **{name: (torch.arange(tokens) < visible).long()[None] for name, tokens, visible in model.list_masks()},
    }
    free = {name: torch.ones(tokens, dtype=torch.bool) for name, (tokens, _) in model.streams.items()}
    return PromptEmbeds(streams, free, extras)

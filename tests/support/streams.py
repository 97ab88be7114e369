"""Tiny models with several streams of text, and inversions of those that are chosen."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.inversion import invert
from imgaudit.models.families.flux import FluxDenoiser
from imgaudit.models.families.sd3 import SD3Denoiser
from imgaudit.models.families.sdxl import SDXLDenoiser
from imgaudit.schema.protocol import (
    InversionConfig,
)
from tests.support.tiny_families import MAKERS

XL, SD3 = "StableDiffusionXLPipeline", "StableDiffusion3Pipeline"
ADAPTERS: dict[str, Callable[[], Any]] = {
    "sdxl": lambda: SDXLDenoiser(MAKERS[XL](), "fingerprint"),
    "sd3": lambda: SD3Denoiser(MAKERS[SD3](), "fingerprint"),
    "flux": lambda: FluxDenoiser(flux_pipeline(), "fingerprint"),
}
STREAMS = {"sdxl": ["text", "pooled"], "sd3": ["clip", "t5", "pooled"], "flux": ["text", "pooled"]}


def flux_pipeline() -> Any:
    pipeline = MAKERS["FluxPipeline"]()
    pipeline.default_sample_size = 8
    return pipeline


def inverted(denoiser: Any, streams: Sequence[str] | None, **options: Any) -> PromptEmbeds:
    latents = denoiser.encode(torch.linspace(-1, 1, 3 * denoiser.resolution**2).reshape(1, 3, denoiser.resolution, -1))
    chosen = None if streams is None else tuple(streams)
    config = InversionConfig(steps=2, draws=2, streams=chosen, **options)
    return invert(denoiser, latents, ["aa"], config, run_seed=0, executor=Executor(8)).prompt_embeds

"""Floating point operations of one pass of published models, counted on tensors without data."""

import importlib.metadata
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from imgaudit.benchmark.harness.table import Table
from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.passes import Passes
from imgaudit.models.families.latent import LatentDenoiser
from imgaudit.models.families.mixed_words import MixedWordsDenoiser
from imgaudit.models.meta_model import build_meta_model
from imgaudit.models.published import PublishedModel
from imgaudit.schema.records import Record


class ModelOperations(Record):
    """Operations of one sample through one model. A multiplication and an addition are two."""

    name: str
    """What people call it."""
    resolution: int
    """Side of its images, in pixels."""
    prediction_type: str
    """What its network predicts."""
    passes_per_step: int
    """Network evaluations of a sampling step under guidance: 1 where the network takes the guidance as an input."""
    has_words: bool
    """Whether audits can search prompts for it."""
    forward: int
    """A pass of the network forward."""
    backward: int
    """A pass forward and backward to the prompt embeddings."""
    decode: int
    """Latents to an image."""
    encode: int
    """An image to latents."""


class OperationTable(Table):
    """All models that were counted."""

    versions: dict[str, str]
    """Of the libraries."""
    models: list[ModelOperations]
    """In the order asked for."""


def count_operations(
    models: Sequence[PublishedModel], *, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> OperationTable:
    """Count every model. Text encoders are not counted: they run once per text."""
    counted: list[ModelOperations] = []
    for model in models:
        counted.append(_count_model(build_meta_model(model, torch.bfloat16)))
        counted[-1] = counted[-1].model_copy(update={"name": model.name})
        on_progress(len(counted), len(models))
    versions = {name: importlib.metadata.version(name) for name in ("torch", "diffusers")}
    return OperationTable(versions=versions, models=counted)


def _count_model(denoiser: LatentDenoiser) -> ModelOperations:
    passes = Passes(cast(Denoiser, denoiser))
    latents = torch.zeros(1, *denoiser.latent_shape)

    def decode() -> None:
        # Not by the adapter, which takes images to the CPU: there are none.
        with torch.no_grad(), denoiser._autoencoder() as vae:
            denoiser._decode_raw(vae, latents.to(vae.dtype))

    return ModelOperations(
        name="",
        resolution=denoiser.resolution,
        prediction_type=denoiser.prediction_type,
        passes_per_step=2 if denoiser.is_guided_by_null else 1,
        has_words=isinstance(denoiser, MixedWordsDenoiser),
        forward=count_flops(lambda: passes.forward(1)),
        backward=count_flops(lambda: passes.backward(1)),
        decode=count_flops(decode),
        encode=count_flops(lambda: passes.encode(1)),
    )


def count_flops(work: Callable[[], object]) -> int:
    """Count the operations of matrix products, convolutions and attention in some work; nothing else is counted.

    >>> count_flops(lambda: torch.zeros(2, 3) @ torch.zeros(3, 5))
    60
    """
    # Attention in its plain form: of the fused ones, that of the CPU is counted as nothing.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counted:
        work()
    return int(counted.get_total_flops())

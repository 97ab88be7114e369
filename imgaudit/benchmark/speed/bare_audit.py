"""A published architecture with random weights, and images, for an audit whose time counts and whose results do not."""

from typing import cast

import torch

from imgaudit.benchmark.harness.lab_model import lab_folder
from imgaudit.benchmark.settings import SpeedSettings
from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.memory import measure_free_bytes, measure_peak_bytes
from imgaudit.diffusion.passes import Passes
from imgaudit.exceptions import InputError, MemoryShortageError
from imgaudit.io.captions import CaptionSource
from imgaudit.io.framing import to_batch
from imgaudit.io.portfolio import Portfolio, Target, read_portfolio
from imgaudit.models.bare_model import build_bare_model
from imgaudit.models.devices import choose_device, use_channels_last
from imgaudit.models.families.latent import LatentDenoiser
from imgaudit.models.families.registry import FAMILIES
from imgaudit.models.loading import LoadedModel
from imgaudit.models.published import PublishedModel, choose_models
from imgaudit.schema.protocol import Framing
from imgaudit.schema.records import Rung


def open_published(settings: SpeedSettings) -> tuple[LoadedModel, Portfolio]:
    """Build a published architecture on a device, and read images to audit, each with a made-up caption.

    Raises InputError for an unknown name or too few images, MemoryShortageError where the memory does not suffice.
    """
    assert settings.published is not None
    [model] = choose_models([settings.published])
    device = choose_device(settings.device)
    portfolio = _read_images(settings)
    dtype = torch.float32 if device.type == "cpu" else getattr(torch, FAMILIES[model.pipeline_class].half)
    refuse_memory(model, dtype, device, shrink=settings.shrink)
    denoiser = build_bare_model(model, dtype, device, shrink=settings.shrink)
    if device.type == "cuda":
        use_channels_last(denoiser.pipeline)
    pixels = (target.load().pixels for target in portfolio.targets)
    denoiser.pictures = to_batch(pixels, denoiser.resolution, Framing.CROP_OR_PAD)  # type: ignore[attr-defined]
    shrunk = f", {settings.shrink} times smaller" if settings.shrink > 1 else ""
    name = f"{model.name}, random weights{shrunk}, {denoiser.resolution} pixels"
    return LoadedModel(cast(Denoiser, denoiser), name, model.pipeline_class, {}), portfolio


def _read_images(settings: SpeedSettings) -> Portfolio:
    folder = settings.images or lab_folder("demo") / "benchmark"
    targets = read_portfolio(folder, CaptionSource(folder)).targets[: settings.count]
    if len(targets) < settings.count:
        raise InputError(f"{str(folder)!r} has {len(targets)} images that can be used, and --count is {settings.count}")
    captioned = [
        Target(one.path, one.image, {Rung.CAPTION: [f"picture number {number}"]}) for number, one in enumerate(targets)
    ]
    return Portfolio(captioned, [])


def refuse_memory(model: PublishedModel, dtype: torch.dtype, device: torch.device, *, shrink: int) -> None:
    """Raise MemoryShortageError where not even one image at a time would fit into a device's free memory."""
    needed, free = count_needed_bytes(build_bare_model(model, dtype, "meta", shrink=shrink)), measure_free_bytes(device)
    if needed > free:
        raise MemoryShortageError(
            f"{model.name} takes at least {needed / 2**30:.1f} GiB of memory, and {free / 2**30:.1f} GiB are free on "
            f"{device}: choose another --device or a smaller model, or make it smaller with --shrink {2 * shrink}"
        )


def count_needed_bytes(denoiser: LatentDenoiser) -> int:
    """Return the bytes of a model's weights, and of the tensors of a pass of one sample forward and backward.

    denoiser:  on the device "meta"
    """
    networks = [one for one in denoiser.pipeline.components.values() if isinstance(one, torch.nn.Module)]
    weights = sum(one.numel() * one.element_size() for network in networks for one in network.parameters())
    passes = Passes(cast(Denoiser, denoiser))
    return weights + measure_peak_bytes(lambda: passes.backward(1), denoiser.device)

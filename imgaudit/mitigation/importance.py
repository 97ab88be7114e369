"""The weights on which the error of memorised images depends, and that of other images does not.

How much an image's error depends on a weight w is measured by the squared gradient (the diagonal of the empirical
Fisher information, as in selective synaptic dampening: Foster et al., AAAI 2024, arXiv 2308.07707):

    F(w) = mean over images of (d/dw mean over draws |target - f(x_t, t, c)|^2)^2        c: the image's caption

A weight is pruned if F(targets) / (F(others) + floor) is among the largest of the network. The floor, a small part of
the mean of F(others), keeps weights that nothing depends on from being chosen for their small divisor. Foster et al.
shrink the weights that they choose; here they become zero, so that what is done is a mask like any other.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.seeds import draw_seed
from imgaudit.exceptions import ConfigError, InputError
from imgaudit.mitigation.evaluation import CaptionedImage
from imgaudit.mitigation.mask_file import MaskFacts, digest
from imgaudit.mitigation.pruning import PipelineDenoiser
from imgaudit.mitigation.wanda import Mask, density
from imgaudit.mitigation.weight_layers import WeightLayer, find_weight_layers
from imgaudit.models.precision import in_float32
from imgaudit.schema.records import Record

FLOOR = 0.01
"""Least divisor, as a part of the mean importance for other images: chosen on the lab `fit`."""

BISECTIONS = 60
"""Halvings of the interval in which the smallest chosen ratio lies: as many as a float32's exponent and digits need."""

Importance = Mapping[str, torch.Tensor]
"""Layer to (width, inner width) float32 on the CPU, >= 0: mean squared gradient; higher, more depends on the weight."""


class ImportanceSettings(Record):
    """How weights are chosen by what depends on them."""

    share: float = 0.03
    """Share of the weights of all layers that is pruned: chosen on the lab `fit`."""
    draws: int = 8
    """Timesteps and draws of noise for each image, spread over the schedule."""
    seed: int = 0
    """Run seed."""


def locate_by_importance(
    denoiser: PipelineDenoiser,
    targets: Sequence[CaptionedImage],
    others: Sequence[CaptionedImage],
    settings: ImportanceSettings,
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Mask, MaskFacts]:
    """Mark the weights on which the error of target images depends much more than that of other images.

    Raises InputError without images on either side, ConfigError where the gradients are not finite.
    """
    if not targets or not others:
        raise InputError(f"expected images to locate with and others, but got {len(targets)} and {len(others)}")
    layers, total = find_weight_layers(denoiser.network), len(targets) + len(others)
    found = [
        measure_importance(
            denoiser, layers, images, settings, on_progress=partial(_tell_from, on_progress, total, before)
        )
        for images, before in ((targets, 0), (others, len(targets)))
    ]
    mask = build_importance_mask(*found, share=settings.share)
    facts = MaskFacts(
        fingerprint=denoiser.fingerprint, method="importance", sparsity=settings.share, draws=settings.draws,
        seed=settings.seed, targets_sha256=_digest(targets), targets=len(targets), references_sha256=_digest(others),
        references=len(others), density=density(mask),
    )  # fmt: skip
    return mask, facts


def _tell_from(on_progress: Callable[[int, int], None], total: int, before: int, done: int, _: int) -> None:
    on_progress(before + done, total)


def _digest(images: Sequence[CaptionedImage]) -> str:
    return digest([[one.sha256, one.prompt] for one in images])


def measure_importance(
    denoiser: PipelineDenoiser,
    layers: Mapping[str, WeightLayer],
    images: Sequence[CaptionedImage],
    settings: ImportanceSettings,
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Importance:
    """Return the mean squared gradient of the images' errors for every weight of the layers.

    The draws of an image depend on its SHA-256 and the seed alone. The network is measured in float32, and given back
    as it came. Raises ConfigError where a gradient is not finite.
    """
    with in_float32(denoiser.network):
        weights = {name: layer.weight for name, layer in layers.items()}
        sums = {name: torch.zeros(weight.flatten(1).shape) for name, weight in weights.items()}
        try:
            for weight in weights.values():
                weight.requires_grad_(True)
            for done, image in enumerate(images, 1):
                loss = _measure_error(denoiser, image, settings)
                gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
                for name, gradient in zip(weights, gradients, strict=True):
                    if gradient is not None:
                        sums[name] += gradient.detach().float().flatten(1).square().cpu() / len(images)
                on_progress(done, len(images))
        finally:
            denoiser.network.requires_grad_(False)
    if not all(bool(torch.isfinite(one).all()) for one in sums.values()):
        raise ConfigError("the errors of these images have gradients that are not finite, so no weight can be located")
    return sums


def _measure_error(denoiser: PipelineDenoiser, image: CaptionedImage, settings: ImportanceSettings) -> torch.Tensor:
    """Return the mean error of one image under its caption, with gradients for the weights."""
    schedule, draws = denoiser.schedule, settings.draws
    generator = torch.Generator().manual_seed(draw_seed(settings.seed, image.sha256, "importance"))
    with torch.no_grad():
        latents = denoiser.encode(image.image[None]).repeat(draws, 1, 1, 1)
        condition: PromptEmbeds = denoiser.condition([image.prompt]).repeat(draws)
    parts = (torch.arange(draws) + torch.rand(draws, generator=generator)) / draws
    timesteps = (parts * schedule.num_train_timesteps).long().clamp_max(schedule.num_train_timesteps - 1)
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    prediction = denoiser.predict(schedule.add_noise(latents, noise, timesteps), timesteps, condition)
    return (prediction.output - schedule.target(prediction.kind, latents, noise, timesteps)).square().mean()


def build_importance_mask(targets: Importance, others: Importance, *, share: float) -> Mask:
    """Mark the share of all weights with the largest ratio of importance; fewer where ratios are equal.

    >>> targets, others = {"a": torch.tensor([[9.0, 1.0]])}, {"a": torch.tensor([[1.0, 1.0]])}
    >>> build_importance_mask(targets, others, share=0.5)["a"].tolist()
    [[True, False]]
    """
    count = sum(one.numel() for one in others.values())
    floor = FLOOR * sum(float(one.double().sum()) for one in others.values()) / max(1, count)
    ratios = {name: targets[name] / (others[name] + max(floor, torch.finfo(torch.float32).tiny)) for name in targets}
    threshold = _find_threshold(ratios, int(share * count))
    return {name: one > threshold for name, one in ratios.items()}


def _find_threshold(ratios: Importance, wanted: int) -> float:
    """Return a number that at most `wanted` of all ratios exceed, as close to as many as there is.

    Bisection over logarithms, since sorting would need all layers of a large network in one tensor.
    """
    highest = max(float(one.max()) for one in ratios.values())
    if highest <= 0:
        return 0.0
    low, high = math.log(torch.finfo(torch.float32).tiny), math.log(highest)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        exceeding = sum(int((one > math.exp(middle)).sum()) for one in ratios.values())
        low, high = (low, middle) if exceeding <= wanted else (middle, high)
    return math.exp(high)

"""Matching: similarity and distance of generated images to a target. Thresholds and verdicts are decided elsewhere."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from imgaudit.exceptions import ModelRefusedError
from imgaudit.schema.measures import COPY_DESCRIPTORS, DECIDING_DESCRIPTOR
from imgaudit.schema.records import Skipped
from imgaudit.similarity.blas_threads import one_blas_thread
from imgaudit.similarity.descriptors import DEFAULT_DESCRIPTORS, Descriptor, compare_vectors, load_descriptor
from imgaudit.similarity.distances import DEFAULT_DISTANCES, Distance
from imgaudit.similarity.lpips import load_lpips
from imgaudit.similarity.reference import Reference


@dataclass(frozen=True)
class Matcher:
    """The descriptors and distances of a run."""

    descriptors: Sequence[Descriptor] = DEFAULT_DESCRIPTORS
    distances: Sequence[Distance] = DEFAULT_DISTANCES

    def compare(
        self, target: torch.Tensor | Reference, images: torch.Tensor
    ) -> list[tuple[dict[str, float], dict[str, float]]]:
        """Return similarity per descriptor and distance per metric of every image to one target.

        target:  (3, H, W) in [-1, 1], as the model's autoencoder renders it; as a Reference it is described only once
        images:  (N, 3, H, W) in [-1, 1]
        """
        if not len(images):
            return []
        reference = Reference.of(target)
        targets = reference.pixels.expand_as(images)
        with one_blas_thread():
            per_descriptor = {
                descriptor.name: compare_vectors(
                    descriptor,
                    descriptor.describe(images),
                    np.repeat(reference.vector(descriptor), len(images), axis=0),
                )
                for descriptor in self.descriptors
            }
            per_metric = {metric.name: metric.measure(targets, images).tolist() for metric in self.distances}
        return [
            (
                {name: values[row] for name, values in per_descriptor.items()},
                {name: values[row] for name, values in per_metric.items()},
            )
            for row in range(len(images))
        ]

    def best_similarity(self, target: torch.Tensor, images: Sequence[torch.Tensor]) -> float:
        """Return the highest similarity of the deciding descriptor over images (3, H, W) in [-1, 1]; -1 without one."""
        return max(self.similarities(target, torch.stack(list(images)))) if images else -1.0

    def similarities(self, target: torch.Tensor, images: torch.Tensor) -> list[float]:
        """Return every image's (N, 3, H, W) similarity to one target (3, H, W), by the deciding descriptor."""
        descriptor = self.deciding()
        vectors = descriptor.describe(images)
        return compare_vectors(descriptor, vectors, np.repeat(descriptor.describe(target[None]), len(images), axis=0))

    def deciding(self) -> Descriptor:
        """Return the descriptor that decides."""
        return next(descriptor for descriptor in self.descriptors if descriptor.name == DECIDING_DESCRIPTOR)


COPY_DESCRIPTOR_SIDE = 128
"""Pixels per side of generated images from which on the copy descriptor is used: smaller ones hold too little of what
it was trained to see."""


def standard_matcher(side: int, device: torch.device | str = "cpu") -> tuple[Matcher, dict[str, Skipped]]:
    """Return every measure that this machine has, and those it lacks with why.

    LPIPS needs a backbone on disk, and the copy descriptor its weights: the first of COPY_DESCRIPTORS that is there.

    side:    pixels per side of the images that are compared
    device:  where the copy descriptor runs, as torch names it: that of the model, not `auto`
    """
    distances, lacking = _load_distances()
    descriptors: tuple[Descriptor, ...] = DEFAULT_DESCRIPTORS
    if side < COPY_DESCRIPTOR_SIDE:
        reason = f"images of {side} pixels are too small for it: it is used from {COPY_DESCRIPTOR_SIDE} pixels on"
        lacking[COPY_DESCRIPTORS[0]] = Skipped(skipped=reason)
        return Matcher(descriptors, distances), lacking
    tried: dict[str, Skipped] = {}
    for name in COPY_DESCRIPTORS:
        loaded = _load_copy_descriptor(name, str(device))
        if not isinstance(loaded, Skipped):
            return Matcher((*descriptors, loaded), distances), lacking
        tried[name] = loaded
    return Matcher(descriptors, distances), lacking | tried


def matcher_of(measured: Collection[str]) -> tuple[Matcher, dict[str, Skipped]]:
    """Return the measures that a run was made with, as far as this machine has them, and those it lacks with why."""
    distances, lacking = _load_distances()
    descriptors: list[Descriptor] = list(DEFAULT_DESCRIPTORS)
    for name in COPY_DESCRIPTORS:
        if name in measured:
            loaded = _load_copy_descriptor(name, "cpu")
            if isinstance(loaded, Skipped):
                lacking[name] = loaded
            else:
                descriptors.append(loaded)
    return Matcher(descriptors, distances), lacking


def _load_distances() -> tuple[tuple[Distance, ...], dict[str, Skipped]]:
    try:
        lpips = load_lpips()
    except ModelRefusedError as error:
        lpips = Skipped(skipped=str(error))
    if isinstance(lpips, Skipped):
        return DEFAULT_DISTANCES, {"lpips": lpips}
    return (*DEFAULT_DISTANCES, lpips), {}


@lru_cache(maxsize=4)
def _load_copy_descriptor(name: str, device: str) -> Descriptor | Skipped:
    """Load it once: its known answers take seconds."""
    try:
        return load_descriptor(name, device=device)
    except ModelRefusedError as error:
        return Skipped(skipped=str(error))

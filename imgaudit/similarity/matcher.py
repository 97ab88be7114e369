"""Matching: similarity and distance of generated images to a target. Thresholds and verdicts are decided elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from imgaudit.exceptions import ModelRefusedError
from imgaudit.schema.measures import DECIDING_DESCRIPTOR
from imgaudit.schema.records import Skipped
from imgaudit.similarity.descriptors import DEFAULT_DESCRIPTORS, Descriptor, compare_vectors
from imgaudit.similarity.distances import DEFAULT_DISTANCES, Distance
from imgaudit.similarity.lpips import load_lpips


@dataclass(frozen=True)
class Matcher:
    """The descriptors and distances of a run."""

    descriptors: Sequence[Descriptor] = DEFAULT_DESCRIPTORS
    distances: Sequence[Distance] = DEFAULT_DISTANCES

    def compare(self, target: torch.Tensor, images: torch.Tensor) -> list[tuple[dict[str, float], dict[str, float]]]:
        """Return similarity per descriptor and distance per metric of every image to one target.

        target:  (3, H, W) in [-1, 1], as the model's autoencoder renders it
        images:  (N, 3, H, W) in [-1, 1]
        """
        if not len(images):
            return []
        targets = target.expand_as(images)
        per_descriptor = {
            descriptor.name: compare_vectors(
                descriptor,
                descriptor.describe(images),
                np.repeat(descriptor.describe(target[None]), len(images), axis=0),
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


def standard_matcher() -> tuple[Matcher, dict[str, Skipped]]:
    """Return every measure that this machine has, and those it lacks with why: LPIPS needs a backbone on disk."""
    try:
        lpips = load_lpips()
    except ModelRefusedError as error:
        lpips = Skipped(skipped=str(error))
    if isinstance(lpips, Skipped):
        return Matcher(), {"lpips": lpips}
    return Matcher(distances=(*DEFAULT_DISTANCES, lpips)), {}

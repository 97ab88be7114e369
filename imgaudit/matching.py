"""Matching: is a generated image a copy of its target, or of another one?"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from imgaudit.descriptors import DEFAULT_DESCRIPTORS, Descriptor, similarities
from imgaudit.distances import DEFAULT_DISTANCES, Distance
from imgaudit.exceptions import ModelRefusedError
from imgaudit.index import FlatIndex
from imgaudit.perceptual_distance import load_lpips
from imgaudit.records import Skipped

DECIDING_DESCRIPTOR = "pixel"
"""The descriptor whose maximum over seeds decides a hit."""

DECIDING_DISTANCE = "tiled_rms"
"""The second, pixel-level leg that must agree."""

NEAR_COPY_CORRELATION = 0.9
"""Above this correlation two pictures are taken for near copies, in rules that controls have no part in."""


@dataclass(frozen=True)
class Matcher:
    """The descriptors and distances of a run."""

    descriptors: Sequence[Descriptor] = DEFAULT_DESCRIPTORS
    distances: Sequence[Distance] = DEFAULT_DISTANCES

    def compare(self, target: torch.Tensor, images: torch.Tensor) -> list[tuple[dict[str, float], dict[str, float]]]:
        """Similarity per descriptor and distance per metric of every image to one target.

        target:  (3, H, W) in [-1, 1], as the model's autoencoder renders it
        images:  (N, 3, H, W) in [-1, 1]
        """
        if not len(images):
            return []
        references = target.expand_as(images)
        per_descriptor = {
            descriptor.name: similarities(
                descriptor,
                descriptor.describe(images),
                np.repeat(descriptor.describe(target[None]), len(images), axis=0),
            )
            for descriptor in self.descriptors
        }
        per_metric = {metric.name: metric.measure(references, images).tolist() for metric in self.distances}
        return [
            (
                {name: values[row] for name, values in per_descriptor.items()},
                {name: values[row] for name, values in per_metric.items()},
            )
            for row in range(len(images))
        ]

    def best_similarity(self, target: torch.Tensor, images: Sequence[torch.Tensor]) -> float:
        """Highest similarity of the deciding descriptor over images (3, H, W) in [-1, 1]; -1 without one."""
        compared = self.compare(target, torch.stack(list(images))) if images else []
        return max((similarity[DECIDING_DESCRIPTOR] for similarity, _ in compared), default=-1.0)

    def deciding(self) -> Descriptor:
        """The descriptor that decides."""
        return next(descriptor for descriptor in self.descriptors if descriptor.name == DECIDING_DESCRIPTOR)


def standard_matcher() -> tuple[Matcher, dict[str, Skipped]]:
    """Every measure that this machine has, and those it lacks with the reason: LPIPS needs a backbone on disk."""
    try:
        lpips = load_lpips()
    except ModelRefusedError as error:
        lpips = Skipped(skipped=str(error))
    if isinstance(lpips, Skipped):
        return Matcher(), {"lpips": lpips}
    return Matcher(distances=(*DEFAULT_DISTANCES, lpips)), {}


@dataclass(frozen=True)
class CrossMatches:
    """The generations of one rung, each image's compared with every target and every decoy."""

    ids: list[str]
    """Targets, in the order of rows and of the first columns."""
    best: npt.NDArray[np.float64]
    """(targets, targets + decoys): highest similarity of any generation for row i with image j; -inf when none was
    scored."""
    groups: Sequence[Sequence[str]] = ()
    """Near-duplicates that are one work: resembling one's own near copy is no coincidence."""

    @cached_property
    def unrelated(self) -> npt.NDArray[np.bool_]:
        """(targets, targets + decoys): pairs of a generation and an image that it was not made for."""
        number = {name: place for place, group in enumerate(self.groups) for name in group}
        work = np.array([number.get(name, -1 - place) for place, name in enumerate(self.ids)])
        mask = np.ones(self.best.shape, dtype=bool)
        mask[:, : len(self.ids)] = work[:, None] != work[None, :]
        return mask & np.isfinite(self.best)

    @cached_property
    def _others(self) -> npt.NDArray[np.float64]:
        return np.sort(self.best[self.unrelated])

    @property
    def pairs(self) -> int:
        """How many unrelated pairs there are."""
        return len(self._others)

    def coincidence_p_value(self, image_id: str) -> float | None:
        """How often a generation resembles an unrelated image as much as this image's resemble their own.

        (1 + unrelated pairs with best[i, j] >= best[id, id]) / (1 + unrelated pairs); None when there is none.
        It needs no controls and no further network evaluation. Pairs share images, so it is approximate.
        """
        row = self.ids.index(image_id)
        own = self.best[row, row]
        if not self.pairs or not np.isfinite(own):
            return None
        at_least = self.pairs - int(np.searchsorted(self._others, own, side="left"))
        return (1 + at_least) / (1 + self.pairs)

    def threshold(self) -> float:
        """The highest similarity of any generation with an image it was not made for."""
        return float(self._others[-1]) if self.pairs else float("inf")

    def resembling(self, image_id: str) -> list[tuple[str, float]]:
        """Other targets that this image's generations resemble more than their own, closest first."""
        row = self.ids.index(image_id)
        own = self.best[row, row]
        closer = [
            (name, float(value))
            for name, value, unrelated in zip(self.ids, self.best[row], self.unrelated[row], strict=False)
            if unrelated and value > max(own, NEAR_COPY_CORRELATION)
        ]
        return sorted(closer, key=lambda pair: -pair[1])


def cross_match(
    descriptor: Descriptor,
    targets: Mapping[str, npt.NDArray[np.generic]],
    generations: Iterable[tuple[str, npt.NDArray[np.generic]]],
    *,
    decoys: npt.NDArray[np.generic] | None = None,
    groups: Sequence[Sequence[str]] = (),
) -> CrossMatches:
    """Compare every generation of a rung with every target that has the rung and with decoys, through one index.

    targets:      id to one vector of the descriptor
    generations:  id and the vectors of its frames that can be scored, one target at a time; ids are among the targets
    decoys:       (decoys, dimension): images nobody asked for
    groups:       near-duplicates among the targets
    """
    ids = list(targets)
    others = [] if decoys is None else [f"decoy {number}" for number in range(len(decoys))]
    best = np.full((len(ids), len(ids) + len(others)), -np.inf)
    place = {name: number for number, name in enumerate([*ids, *others])}
    index = FlatIndex(descriptor)
    if ids:
        rows = np.stack([targets[name] for name in ids])
        index.add([*ids, *others], rows if decoys is None else np.concatenate([rows, decoys]))
    for name, vectors in generations:
        row = best[place[name]]
        for neighbours in index.search(vectors, len(place)):
            for neighbour in neighbours:
                column = place[neighbour.id]
                row[column] = max(row[column], neighbour.similarity)
    return CrossMatches(ids, best, groups)

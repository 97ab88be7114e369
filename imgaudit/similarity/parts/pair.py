"""Is a candidate a copy of a target, or of part of it: where, and how much? Two independent legs must agree."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import torch

from imgaudit.schema.pairs import PairEvidence, Region, Transform
from imgaudit.schema.records import Skipped
from imgaudit.similarity.blas_threads import one_blas_thread
from imgaudit.similarity.parts.geometry import Features, find_features, fit_map, measure_turn_and_scale
from imgaudit.similarity.parts.photometric import SIDE, Agreement, measure_agreement
from imgaudit.similarity.parts.picture import WORKING_SIDE, Floats, Mask, Picture, scale_map, to_fraction_map

LEAST_SIDE = 128
"""Pixels of the shorter side from which on local features say enough; see docs/guides/partial-copies.md."""


@dataclass(frozen=True)
class ImageFeatures:
    """A picture with its features and those of its mirror image: what a pair needs, computed once."""

    picture: Picture
    """At the working size."""
    features: Features
    """Local features; those of its mirror image follow from them."""

    @cached_property
    def extent(self) -> float:
        """Share of the area on which the picture agrees with itself: plain margins are left out."""
        return Region.of(measure_agreement(self.picture, self.picture, np.eye(3)[:2]).region).area

    @classmethod
    def of(cls, image: torch.Tensor) -> "ImageFeatures":
        """Describe (3, H, W) in [-1, 1]. Raises InputError for other shapes and for numbers that are not finite."""
        return cls.find(Picture.of(image))

    @classmethod
    def find(cls, picture: Picture) -> "ImageFeatures":
        """Describe a picture that has its working size already."""
        return cls(picture, find_features(picture))


def compare_images(target: torch.Tensor, candidate: torch.Tensor) -> PairEvidence:
    """Compare two images (3, H, W) in [-1, 1], of any sizes, by both legs.

    Raises InputError for other shapes and for numbers that are not finite.
    """
    [evidence] = compare_candidates(target, [candidate])
    return evidence


def compare_candidates(target: torch.Tensor | ImageFeatures, candidates: Sequence[torch.Tensor]) -> list[PairEvidence]:
    """Compare one target with many candidates by both legs, on as many cores as torch uses.

    target:      (3, H, W) in [-1, 1], or what describes it; it is described once
    candidates:  (3, H, W) in [-1, 1], each of any size
    Raises InputError for other shapes and for numbers that are not finite.
    """
    described = target if isinstance(target, ImageFeatures) else ImageFeatures.of(target)
    # Tensors are prepared here: in every thread torch would start threads of its own, which wait for one another.
    pictures = [Picture.of(candidate) for candidate in candidates]
    with one_blas_thread(), ThreadPoolExecutor(max_workers=torch.get_num_threads()) as pool:
        return list(pool.map(lambda picture: compare_features(described, ImageFeatures.find(picture)), pictures))


def compare_features(target: ImageFeatures, candidate: ImageFeatures) -> PairEvidence:
    """Compare two described pictures by both legs."""
    direct = fit_map(target.features, candidate.features)
    turned = fit_map(target.features, candidate.features.mirrored())
    mirrored = turned.score > direct.score
    found = turned if mirrored else direct
    if found.matrix is None:
        empty = Region.of(np.zeros((1, 1), dtype=bool))
        return PairEvidence(
            geometric=0.0, photometric=0.0, inliers=0, matches=found.matches,
            transform=Skipped(skipped="no map brings enough features together"), region=empty, candidate_region=empty,
        )  # fmt: skip
    matrix = found.matrix @ _mirror_map(candidate.picture.width) if mirrored else found.matrix
    agreed = measure_agreement(target.picture, candidate.picture, matrix)
    region, carried = Region.of(agreed.region), Region.of(_carry_region(agreed, candidate.picture))
    return PairEvidence(
        geometric=found.score, photometric=agreed.score, inliers=found.inliers, matches=found.matches,
        transform=_to_transform(target.picture, candidate.picture, matrix, mirrored=mirrored),
        region=region, candidate_region=carried, target_share=_share(region, target.extent),
        candidate_share=_share(carried, candidate.extent),
    )  # fmt: skip


def _share(region: Region, extent: float) -> float:
    """Return the share of what can be compared that is in a region, 0 to 1; 0 of nothing."""
    return min(1.0, region.area / extent) if extent else 0.0


def _mirror_map(width: int) -> Floats:
    """Return the (3, 3) map of a picture's pixel centres to those of its mirror image."""
    return np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


def _to_transform(target: Picture, candidate: Picture, matrix: Floats, *, mirrored: bool) -> Transform:
    sign = -1 if mirrored else 1
    rotation, scale = measure_turn_and_scale(matrix * [sign, 1, 1])
    fractions = to_fraction_map(matrix, target, candidate)
    return Transform(
        mirrored=mirrored, scale=scale, rotation=rotation, matrix=(_to_row(fractions[0]), _to_row(fractions[1]))
    )


def _to_row(values: Floats) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


def _carry_region(agreed: Agreement, candidate: Picture) -> Mask:
    """Return the region in the candidate."""
    matrix = scale_map(agreed.matrix, SIDE / WORKING_SIDE, 1.0)
    back = cv2.warpAffine(
        agreed.region.astype(np.uint8), matrix, (candidate.width, candidate.height),
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
    )  # fmt: skip
    return np.asarray(back > 0)

"""Near-identical images from different seeds: what shows that a prompt pulls towards one image.

Images of one prompt are clustered by DBSCAN on 1 - similarity (Ester et al. 1996; MemBench, arXiv 2407.17095, uses it
with eps 0.5 on SSCD): an image with `min_samples` images within eps, itself among them, is the core of a cluster. A
cluster is no proof that its image was in the training set: nothing here has seen the training set.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from sklearn.cluster import DBSCAN

from imgaudit.schema.measures import NEAR_COPY_CORRELATION
from imgaudit.schema.triggers import Cluster
from imgaudit.similarity.descriptors import Descriptor
from imgaudit.statistics import clopper_pearson

MIN_SAMPLES = 3
"""Images that make a cluster, as published."""

BLANK_SPREAD = 0.15
"""Standard deviation, of values in [-1, 1], below which a picture shows next to nothing."""

EPS = {"pixel": 1 - NEAR_COPY_CORRELATION, "sscd": 0.5, "sscd-int8": 0.5}
"""Largest 1 - similarity within a cluster by descriptor; SSCD's as published, others get the pixel descriptor's."""


def measure_distances(descriptor: Descriptor, vectors: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """Return 1 - similarity of every pair of N vectors of a descriptor: (N, N), 0 on the diagonal."""
    if descriptor.binary:
        bits = np.bitwise_count(vectors.astype(np.uint8)[:, None] ^ vectors.astype(np.uint8)[None]).sum(axis=2)
        return np.asarray(bits / descriptor.dimension, dtype=np.float64)
    matrix = np.clip(1 - vectors.astype(np.float64) @ vectors.astype(np.float64).T, 0, 2)
    np.fill_diagonal(matrix, 0)
    return np.asarray(matrix, dtype=np.float64)


def find_largest_cluster(descriptor: Descriptor, images: Sequence[torch.Tensor], eps: float) -> Cluster:
    """Find the largest cluster of the images of one prompt by DBSCAN.

    images:  (3, H, W) float32 in [-1, 1] each, those that can be scored

    >>> from imgaudit.similarity.descriptors import PixelDescriptor
    >>> noise = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    >>> found = find_largest_cluster(PixelDescriptor(), [*noise[:2], *noise[5:].repeat(4, 1, 1, 1)], eps=0.1)
    >>> found.size, found.n, found.members
    (4, 6, (2, 3, 4, 5))
    """
    n = len(images)
    if n < MIN_SAMPLES:
        return _cluster((), n, None)
    matrix = measure_distances(descriptor, descriptor.describe(torch.stack(list(images))))
    labels = DBSCAN(eps=eps, min_samples=MIN_SAMPLES, metric="precomputed").fit(matrix).labels_
    groups = [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]
    if not groups:
        return _cluster((), n, None)
    members = max(groups, key=len)
    centre = members[matrix[np.ix_(members, members)].mean(axis=1).argmin()]
    return _cluster(tuple(members.tolist()), n, int(centre))


def _cluster(members: tuple[int, ...], n: int, representative: int | None) -> Cluster:
    low, high = clopper_pearson(len(members), n)
    return Cluster(size=len(members), n=n, low=low, high=high, members=members, representative=representative)


def group_alike(descriptor: Descriptor, images: Sequence[torch.Tensor], eps: float) -> list[list[int]]:
    """Group representatives that show the same image, by number, linked through pairs within eps.

    images:  (3, H, W) float32 in [-1, 1] each

    >>> from imgaudit.similarity.descriptors import PixelDescriptor
    >>> noise = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    >>> group_alike(PixelDescriptor(), [noise[0], noise[1], noise[0]], eps=0.1)
    [[0, 2], [1]]
    """
    if not images:
        return []
    matrix = measure_distances(descriptor, descriptor.describe(torch.stack(list(images))))
    labels = DBSCAN(eps=eps, min_samples=1, metric="precomputed").fit(matrix).labels_
    groups = [np.flatnonzero(labels == label).tolist() for label in range(labels.max() + 1)]
    return sorted(groups)


def is_nearly_blank(image: torch.Tensor) -> bool:
    """Return whether a picture shows next to nothing: any two such pictures look alike, and none is worth finding.

    image:  (3, H, W) in [-1, 1]

    >>> is_nearly_blank(torch.ones(3, 8, 8))
    True
    """
    return float(image.std()) < BLANK_SPREAD

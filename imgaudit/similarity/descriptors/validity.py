"""Descriptions that mean nothing: what cannot be told from other pictures is skipped, never compared."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from imgaudit.similarity.descriptors.descriptor import Descriptor
from imgaudit.similarity.descriptors.pdq import USABLE_QUALITY, PdqDescriptor

LEAST_CONTRAST = 0.5 / 127.5
"""Standard deviation of a channel, in units of [-1, 1]: half a level of 256, about what rounding to 8 bit makes."""


class JudgedVectors(NamedTuple):
    """Vectors, and which of them may be compared."""

    vectors: npt.NDArray[np.generic]
    """One per image, also where it means nothing."""
    reasons: list[str]
    """Reason why a vector means nothing; empty where it may be compared."""


def describe_judged(descriptor: Descriptor, images: torch.Tensor) -> JudgedVectors:
    """Describe images (N, 3, H, W) in [-1, 1], and say which descriptions mean nothing, and why.

    PDQ has a measure of its own. A vector of floats means nothing where it holds NaN or infinity or has no length, or
    where the image varies by less than `LEAST_CONTRAST` in every channel: what is left then is rounding.

    >>> from imgaudit.similarity.descriptors import PixelDescriptor
    >>> describe_judged(PixelDescriptor(), torch.zeros(1, 3, 32, 32)).reasons
    ["the image is plain: descriptor 'pixel' cannot tell it from other plain images"]
    """
    plain = f"the image is plain: descriptor {descriptor.name!r} cannot tell it from other plain images"
    if isinstance(descriptor, PdqDescriptor):
        vectors, qualities = descriptor.describe_with_quality(images)
        reasons = [
            ""
            if quality >= USABLE_QUALITY
            else f"{plain} (quality {quality} of 100; at least {USABLE_QUALITY} is needed)"
            for quality in qualities
        ]
        return JudgedVectors(vectors, reasons)
    vectors = descriptor.describe(images)
    if descriptor.binary:
        return JudgedVectors(vectors, [""] * len(vectors))
    floats: npt.NDArray[np.float64] = vectors.astype(np.float64)
    finite = np.atleast_1d(np.isfinite(floats).all(axis=1))
    length = np.linalg.norm(np.where(finite[:, None], floats, 0), axis=1)
    contrast = images.float().std(dim=(2, 3), correction=0).amax(dim=1).numpy()
    varied = (length > 0) & (contrast >= LEAST_CONTRAST)
    unmeasured = f"descriptor {descriptor.name!r} gives no finite numbers for the image"
    reasons = ["" if one else plain for one in varied.tolist()]
    return JudgedVectors(
        vectors, [reason if one else unmeasured for reason, one in zip(reasons, finite.tolist(), strict=True)]
    )

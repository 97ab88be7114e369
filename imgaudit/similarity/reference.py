"""The image that generated ones are compared with, described once however often it is compared."""

from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from imgaudit.similarity.descriptors import Descriptor
from imgaudit.similarity.parts import ImageFeatures


class Reference:
    """One image with what has been computed of it: an audit compares it in every rung."""

    def __init__(self, pixels: torch.Tensor) -> None:
        self.pixels = pixels
        """(3, H, W) in [-1, 1]."""
        self._vectors: dict[str, npt.NDArray[np.generic]] = {}

    @classmethod
    def of(cls, image: "torch.Tensor | Reference") -> "Reference":
        """Return the reference itself, or that of an image (3, H, W) in [-1, 1]."""
        return image if isinstance(image, Reference) else cls(image)

    def vector(self, descriptor: Descriptor) -> npt.NDArray[np.generic]:
        """Return the description (1, dimension) by one descriptor; the same name is taken for the same network."""
        if descriptor.name not in self._vectors:
            self._vectors[descriptor.name] = descriptor.describe(self.pixels[None])
        return self._vectors[descriptor.name]

    @cached_property
    def features(self) -> ImageFeatures:
        """Local features, for a comparison in parts. Raises InputError for numbers that are not finite."""
        return ImageFeatures.of(self.pixels)

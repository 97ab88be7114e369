"""Descriptors: one vector per image, compared by a similarity (higher is closer).

Each carries its own preprocessing, dimension and provenance; callers pass images in the package's one range.
"""

from typing import Protocol

import numpy as np
import numpy.typing as npt
import pdqhash
import torch
from PIL import Image
from torch.nn.functional import interpolate


class Descriptor(Protocol):
    """Maps images to vectors whose comparison tells copies from look-alikes."""

    @property
    def name(self) -> str:
        """Short name, a key in records."""

    @property
    def dimension(self) -> int:
        """Number of floats, or of bits when binary."""

    @property
    def binary(self) -> bool:
        """Whether vectors are packed bits (compared by Hamming distance) or unit floats (by inner product)."""

    @property
    def source(self) -> str:
        """Where the weights or the algorithm come from, with checksum or version."""

    def describe(self, images: torch.Tensor) -> npt.NDArray[np.generic]:
        """(N, 3, H, W) in [-1, 1] to (N, dimension) float32 of unit length, or (N, dimension / 8) uint8."""


class PixelDescriptor:
    """Normalised correlation: the image at 32 x 32, its mean removed, scaled to length one.

    The inner product of two such vectors is their Pearson correlation over pixels and channels, in [-1, 1].
    A constant image has no direction; it gets the zero vector, whose similarity to anything is 0.
    """

    name = "pixel"
    side = 32
    dimension = 3 * 32 * 32
    binary = False
    source = "imgaudit: 32 x 32 area-averaged RGB, mean removed"

    def describe(self, images: torch.Tensor) -> npt.NDArray[np.generic]:
        """(N, 3, H, W) in [-1, 1] to (N, 3072) float32."""
        small = images.float()
        if small.shape[-1] != self.side or small.shape[-2] != self.side:
            small = interpolate(small, (self.side, self.side), mode="area")
        flat = small.flatten(1)
        flat = flat - flat.mean(dim=1, keepdim=True)
        norm = flat.norm(dim=1, keepdim=True)
        return torch.where(norm > 1e-3, flat / norm.clamp(min=1e-3), torch.zeros_like(flat)).numpy()


class PdqDescriptor:
    """Meta's PDQ, a 256-bit perceptual hash; similarity is 1 - Hamming distance / 256.

    Meant for images of several hundred pixels. At 32 pixels a faint noise moves a third of true pairs past the usual
    31 bits, so it is reported beside the pixel legs and never decides alone.
    """

    name = "pdq"
    dimension = 256
    binary = True
    source = "pdqhash (ThreatExchange PDQ)"

    def describe(self, images: torch.Tensor) -> npt.NDArray[np.generic]:
        """(N, 3, H, W) in [-1, 1] to (N, 32) uint8."""
        array = ((images.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        bits = [pdqhash.compute(np.ascontiguousarray(image))[0] for image in array]
        return np.packbits(np.stack(bits).astype(np.uint8), axis=1)


def whole_image_pdq(image: Image.Image) -> str:
    """PDQ hash of an image at its own size, 64 hexadecimal digits; empty where PDQ's quality measure says "flat"."""
    bits, quality = pdqhash.compute(np.asarray(image.convert("RGB")))
    return np.packbits(np.asarray(bits, dtype=np.uint8)).tobytes().hex() if quality >= 50 else ""


def similarities(descriptor: Descriptor, left: npt.NDArray[np.generic], right: npt.NDArray[np.generic]) -> list[float]:
    """Row by row similarity of two sets of vectors of one descriptor; higher is closer."""
    if descriptor.binary:
        distance = np.bitwise_count(np.bitwise_xor(left.astype(np.uint8), right.astype(np.uint8))).sum(axis=1)
        return [float(value) for value in 1 - distance / descriptor.dimension]
    return [float(value) for value in np.einsum("nd,nd->n", left.astype(np.float64), right.astype(np.float64))]


DEFAULT_DESCRIPTORS: tuple[Descriptor, ...] = (PixelDescriptor(), PdqDescriptor())
"""What needs no download: `pixel` decides together with the tiled distance, `pdq` is reported."""

"""Descriptors: one vector per image, compared by a similarity (higher is closer)."""

from imgaudit.descriptors.descriptor import Descriptor, similarities
from imgaudit.descriptors.pdq import PdqDescriptor, whole_image_pdq
from imgaudit.descriptors.pixel import PixelDescriptor

DEFAULT_DESCRIPTORS: tuple[Descriptor, ...] = (PixelDescriptor(), PdqDescriptor())
"""What needs no download: `pixel` decides together with the tiled distance, `pdq` is reported."""

__all__ = [
    "DEFAULT_DESCRIPTORS",
    "Descriptor",
    "PdqDescriptor",
    "PixelDescriptor",
    "similarities",
    "whole_image_pdq",
]

"""Descriptors: one vector per image, compared by a similarity (higher is closer)."""

from imgaudit.similarity.descriptors.descriptor import Descriptor, compare_vectors
from imgaudit.similarity.descriptors.detail import DetailDescriptor
from imgaudit.similarity.descriptors.known_answers import require_known_answers
from imgaudit.similarity.descriptors.loading import DESCRIPTOR_NAMES, load_descriptor
from imgaudit.similarity.descriptors.normalisation import UnrelatedImages
from imgaudit.similarity.descriptors.pdq import PdqDescriptor
from imgaudit.similarity.descriptors.pixel import PixelDescriptor
from imgaudit.similarity.descriptors.validity import describe_judged

DEFAULT_DESCRIPTORS: tuple[Descriptor, ...] = (PixelDescriptor(), PdqDescriptor())
"""Descriptors that need no download: `pixel` decides together with the tiled distance, `pdq` is reported."""

__all__ = [
    "DEFAULT_DESCRIPTORS",
    "DESCRIPTOR_NAMES",
    "Descriptor",
    "DetailDescriptor",
    "PdqDescriptor",
    "PixelDescriptor",
    "UnrelatedImages",
    "compare_vectors",
    "describe_judged",
    "load_descriptor",
    "require_known_answers",
]

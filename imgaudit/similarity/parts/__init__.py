"""Parts: is one image a copy of part of another, where, and how much of the area?"""

from imgaudit.similarity.parts.outside import measure_rest_similarity
from imgaudit.similarity.parts.pair import (
    LEAST_SIDE,
    ImageFeatures,
    compare_candidates,
    compare_features,
    compare_images,
)

__all__ = [
    "LEAST_SIDE",
    "ImageFeatures",
    "compare_candidates",
    "compare_features",
    "compare_images",
    "measure_rest_similarity",
]

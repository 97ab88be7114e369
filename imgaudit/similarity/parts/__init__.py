"""Parts: is one image a copy of part of another, where, and how much of the area?"""

from imgaudit.similarity.parts.outside import rest_similarity
from imgaudit.similarity.parts.pair import LEAST_SIDE, Described, compare, verify, verify_many

__all__ = ["LEAST_SIDE", "Described", "compare", "rest_similarity", "verify", "verify_many"]

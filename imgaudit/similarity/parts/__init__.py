"""Verification of a pair: is one image a copy of part of another, where, and how much of the area?"""

from imgaudit.decision.pair_nulls import closest, leg_p_value, thresholds_from
from imgaudit.schema.pairs import WHOLE, Box, PairEvidence, PairThresholds, Region, Transform, classify
from imgaudit.similarity.parts.outside import rest_similarity
from imgaudit.similarity.parts.pair import LEAST_SIDE, Described, compare, verify, verify_many

__all__ = [
    "LEAST_SIDE",
    "WHOLE",
    "Box",
    "Described",
    "PairEvidence",
    "PairThresholds",
    "Region",
    "Transform",
    "classify",
    "closest",
    "compare",
    "leg_p_value",
    "rest_similarity",
    "thresholds_from",
    "verify",
    "verify_many",
]

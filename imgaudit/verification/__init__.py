"""Verification of a pair: is one image a copy of part of another, where, and how much of the area?"""

from imgaudit.pairs import WHOLE, Box, PairEvidence, PairThresholds, Region, Transform, classify
from imgaudit.verification.null import closest, leg_p_value, thresholds_from
from imgaudit.verification.pair import LEAST_SIDE, Described, compare, verify, verify_many
from imgaudit.verification.rest import rest_similarity

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

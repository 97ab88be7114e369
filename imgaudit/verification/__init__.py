"""Verification of a pair: is one image a copy of part of another, where, and how much of the area?"""

from imgaudit.verification.pair import (
    Described,
    PairEvidence,
    PairThresholds,
    Transform,
    classify,
    compare,
    verify,
    verify_many,
)
from imgaudit.verification.region import Box, Region

__all__ = [
    "Box",
    "Described",
    "PairEvidence",
    "PairThresholds",
    "Region",
    "Transform",
    "classify",
    "compare",
    "verify",
    "verify_many",
]

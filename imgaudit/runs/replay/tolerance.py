"""How far a picture may be from the same one generated again, by what differs between the two machines.

`imgaudit benchmark replay` measures these differences. The tolerances were set on the demo lab; docs/benchmarks.md has
what they are worth on others.
"""

from imgaudit.schema.replay import ReplayTolerance

SAME_PRECISION = ReplayTolerance(
    largest=4.0, mean=0.25, similarity=0.005, distance=0.005,
    source="differences between thread counts and batch sizes in float32 on processors",
)  # fmt: skip
"""Both machines computed in the same precision."""

OTHER_PRECISION = ReplayTolerance(
    largest=255.0, mean=12.0, similarity=0.1, distance=0.1,
    source="differences between float32 and bfloat16 on processors",
)  # fmt: skip
"""The machines computed in different precisions, or the run does not say in which."""


def find_tolerance(there: str, here: str) -> ReplayTolerance:
    """Return the tolerance between two precisions, such as float32 and bfloat16; empty where one is not known.

    >>> find_tolerance("float32", "float32") == SAME_PRECISION
    True
    """
    return SAME_PRECISION if there == here and there else OTHER_PRECISION

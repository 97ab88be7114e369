"""How far a picture may be from the same one generated again, by what differs between the two machines.

`imgaudit benchmark replay` measures these differences. The tolerances were set on the demo lab: the first is at least
four times the largest difference there, because other kinds of processors were not measured, and the second contains
every picture there. docs/robustness.md has what they are worth on other labs.
"""

from imgaudit.schema.replay import ReplayTolerance

SAME_PRECISION = ReplayTolerance(
    largest=4.0, mean=0.01, similarity=0.0005, distance=0.0005,
    source="differences between thread counts and batch sizes in float32 on processors",
)  # fmt: skip
"""Both machines computed in the same precision."""

OTHER_PRECISION = ReplayTolerance(
    largest=255.0, mean=20.0, similarity=0.03, distance=0.01,
    source="differences between float32 and bfloat16 on processors",
)  # fmt: skip
"""The machines computed in different precisions, or the run does not say in which."""


def find_tolerance(there: str, here: str) -> ReplayTolerance:
    """Return the tolerance between two precisions, such as float32 and bfloat16; empty where one is not known.

    >>> find_tolerance("float32", "float32") == SAME_PRECISION
    True
    """
    return SAME_PRECISION if there == here and there else OTHER_PRECISION

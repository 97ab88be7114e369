"""Thresholds that make one generated image a copy: those that controls set, and an absolute standard beside them."""

from imgaudit.schema.measures import NEAR_COPY_CORRELATION, NEAR_COPY_TILE_DISTANCE
from imgaudit.schema.records import Record
from imgaudit.statistics import controls_needed


class CopyThresholds(Record):
    """The thresholds that make one generated image a copy."""

    similarity: float
    """A copy has a similarity strictly above this."""
    distance: float
    """A copy has a distance strictly below this."""

    def is_copy(self, similarity: float, distance: float) -> bool:
        """Say whether both similarity and distance pass."""
        return similarity > self.similarity and distance < self.distance


def controls_to_place(level: float) -> int:
    """Return how many controls place a copy threshold at a level.

    The threshold is the k-th highest value of n controls, k = level (n + 1) rounded down. With k below 2 it is their
    highest value or none, which one unusual control moves as far as it likes.

    >>> controls_to_place(0.05)
    39
    """
    return controls_needed(2, 1, level)


ABSOLUTE_STANDARD = CopyThresholds(similarity=NEAR_COPY_CORRELATION, distance=NEAR_COPY_TILE_DISTANCE)
"""A generated image that passes these is near-identical to its target. They come from the literature and are the same
for every model and bank; `imgaudit benchmark errors` prints how often images that were never trained on pass them."""

"""Thresholds that make one generated image a copy: those that controls set, and an absolute standard beside them."""

from pydantic import Field

from imgaudit.schema.measures import NEAR_COPY_CORRELATION, NEAR_COPY_TILE_DISTANCE
from imgaudit.schema.policy import Policy
from imgaudit.schema.records import Record
from imgaudit.statistics import controls_needed

NEVER = 1.0, 0.0
"""Similarity and distance that no image passes: the one is at most 1, the other at least 0."""


class CopyThresholds(Record):
    """The thresholds that make one generated image a copy: by pixels, or by the copy descriptor where there is one."""

    similarity: float
    """A copy by pixels has a similarity strictly above this,"""
    distance: float
    """and a distance strictly below this."""
    copy_similarity: float | None = Field(None, exclude_if=lambda value: value is None)
    """A copy by the copy descriptor has a similarity strictly above this; None where the descriptor has no part."""

    def is_copy(self, similarity: float, distance: float, copy_similarity: float | None = None) -> bool:
        """Say whether the pixel measures pass together, or the copy descriptor's similarity passes."""
        if similarity > self.similarity and distance < self.distance:
            return True
        return (
            self.copy_similarity is not None and copy_similarity is not None and copy_similarity > self.copy_similarity
        )

    def choose_legs(self, policy: Policy) -> "CopyThresholds":
        """Return the thresholds with those legs alone that a policy has."""
        changed: dict[str, float | None] = {}
        if policy.legs == "similarity":
            changed = {"distance": 1.0}
        if not policy.uses_copy_descriptor:
            changed["copy_similarity"] = None
        elif policy.legs == "descriptor":
            changed = {"similarity": NEVER[0], "distance": NEVER[1]}
        return self.model_copy(update=changed)


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

"""The portfolio as one set: how high its works rank among the controls, over all of them together."""

from typing import Annotated, Literal

from pydantic import Field

from imgaudit.schema.records import Record

SetLeg = Literal["score", "caption"]
"""score: the score of every image. caption: the score under its own caption."""

MOST_IMAGES = 10**9
"""Images that a record can hold at most: more cannot have been measured."""


class SetLevel(Record):
    """The test of a portfolio as one set; see `imgaudit.decision.set_level`."""

    p_value: float = Field(gt=0, le=1)
    """Permutation p-value: how often works that are like the controls rank as high by chance. One test of its own: no
    verdict rests on it, and it is not corrected with those of single images."""
    works: int = Field(ge=1, le=MOST_IMAGES)
    """Works that were compared: near copies and series count once."""
    left_out: int = Field(ge=0, le=MOST_IMAGES)
    """Works that were measured and not compared: an alarm takes their p-value, or they lack a caption."""
    controls: int = Field(ge=1, le=MOST_IMAGES)
    """Controls that they were compared with."""
    ahead: dict[SetLeg, Annotated[float, Field(ge=0, le=1)]]
    """For every leg, the share of pairs of a work and a control in which the work's value is higher, ties by half: 0.5
    where they are alike."""
    permutations: int = Field(ge=1, le=MOST_IMAGES)
    """Permutations of works and controls that were drawn; the smallest p-value is 1 / (1 + permutations)."""
    seed: int = Field(ge=0, lt=2**32)
    """Seed of the permutations, made from the ranks."""

"""How often a rule is wrong on images like the controls: measured on some of them, and as an interval."""

from imgaudit.schema.records import Record, Skipped

NOT_IN_PARTS = Skipped(skipped="its generated images were not compared in parts")
"""Reason why a rung has no finding on parts: images of too few pixels, or a run made before they were compared so."""


class ForcingCheck(Record):
    """The whole rule applied to controls that are not in the bank: its error rate at this budget on this model."""

    n: int
    """Controls kept out of the bank."""
    copies: int
    """Number of these with at least one embedding replica that passes the copy thresholds."""
    significant: int
    """Number of these with a score p-value at or below the level."""
    called: int
    """Number of these that the rule for the embedding rung calls reproduced (p in place of q)."""
    parts: int | Skipped = NOT_IN_PARTS
    """Number of these that the rule for parts calls partly replicated."""


class RateInterval(Record):
    """The interval of a rate."""

    low: float
    """Lower end, 0 to 1."""
    high: float
    """Upper end, 0 to 1."""


TOO_FEW_TO_FIRE = Skipped(
    skipped="with so few controls no p-value can be as low as the level, so no image can be found significant"
)
"""The reason why there is no rate of false alarms where no image can be found significant."""

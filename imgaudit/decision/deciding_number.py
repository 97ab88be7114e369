"""The number that decided a verdict: the p-value of its claim, corrected for every image and text that was tried."""

from typing import NamedTuple

from imgaudit.decision.replication import deciding_p_value
from imgaudit.schema.findings import Finding, Verdict
from imgaudit.schema.records import TEXT_RUNGS, Skipped, is_at_most
from imgaudit.schema.replication import Replication


class DecidingNumber(NamedTuple):
    """A corrected p-value with what the image was compared with."""

    value: float | Skipped
    """The p-value, 0 to 1, which is compared with the level; lower = less like chance."""
    with_controls: bool
    """True when it compares with controls; False when it compares with images that were generated for other works."""


def find_deciding_number(finding: Finding, level: float) -> DecidingNumber:
    """Return the number that decided the verdict on an image.

    A claim against the controls stands when two numbers are at or below the level: the q-value of the image, and the
    p-value of the way of asking, times the number of ways that are texts. The larger of them decided. A text can also
    count without controls, by its own q-value. Where no claim stands, the q-value of the image decided.

    level:  false discovery rate over the folder
    """
    own = DecidingNumber(finding.q_value, True)
    partly = finding.verdict is Verdict.PARTIAL
    returned = next((one for one in finding.replication if (one.partly_stands if partly else one.whole_stands)), None)
    if returned is None:
        return own
    # A copy that was mirrored, moved or cropped is told by its parts.
    p_value = _claimed_p_value(returned, by_parts=returned.part_stands if partly else not returned.stands)
    texts = sum(one.rung in TEXT_RUNGS for one in finding.replication) if returned.rung in TEXT_RUNGS else 1
    if is_at_most(finding.q_value, level) and is_at_most(p_value, level / texts):
        assert not isinstance(finding.q_value, Skipped) and not isinstance(p_value, Skipped)
        return DecidingNumber(max(finding.q_value, texts * p_value), True)
    if returned.rung in TEXT_RUNGS and is_at_most(returned.q_value, level):
        return DecidingNumber(returned.q_value, False)
    return own


def _claimed_p_value(returned: Replication, *, by_parts: bool) -> float | Skipped:
    """Return the p-value of what one way of asking returned, told by parts or by the whole image."""
    if by_parts:
        return returned.part if isinstance(returned.part, Skipped) else returned.part.p_value
    return deciding_p_value(returned) if returned.rung in TEXT_RUNGS else returned.p_value

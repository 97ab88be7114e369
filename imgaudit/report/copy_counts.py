"""How many generated images are copies, and by which thresholds: where no threshold is valid, nothing is counted."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from imgaudit.decision.copy_thresholds import ABSOLUTE_STANDARD, controls_to_place
from imgaudit.schema.findings import AuditResult, Finding
from imgaudit.schema.measures import DECIDING_DESCRIPTOR, DECIDING_DISTANCE, find_copy_similarity
from imgaudit.schema.records import Replica, Skipped
from imgaudit.schema.replication import Replication

NOT_COUNTED = "not counted"
"""Stands in place of a number of copies where there is no valid threshold."""

BY_ABSOLUTE_STANDARD = "near-identical, by the absolute standard"
"""What is counted where controls set no threshold and the images come from a text."""


class CopyCount(NamedTuple):
    """What a page says of the copies of one rung."""

    counted: str
    """Copies of generated images, or that they were not counted."""
    note: str
    """What the number counts, where that is not copies by the controls' thresholds; empty otherwise."""
    thresholds: str
    """The thresholds with where they come from, or the reason why there is none."""


def is_counted(one: Replication) -> bool:
    """Return whether there is a threshold by which copies of a rung could be counted."""
    return not isinstance(one.thresholds, Skipped)


def is_absolute(one: Replication) -> bool:
    """Return whether the absolute standard, which no control decides, counts the copies of a rung."""
    return one.thresholds == ABSOLUTE_STANDARD.model_dump()


def count_copies(one: Replication, result: AuditResult) -> CopyCount:
    """Say how many images of a rung are copies, and by which thresholds.

    Fewer controls than place a threshold leave it to one of them: then the number is not called one of copies.
    """
    if isinstance(one.thresholds, Skipped):
        return CopyCount(NOT_COUNTED, "no valid copy threshold", f"none: {one.thresholds.skipped}")
    numbers = threshold_text(one.thresholds)
    if is_absolute(one):
        return CopyCount(_of(one), BY_ABSOLUTE_STANDARD, f"absolute standard, which no control decides: {numbers}")
    if not are_placed(result):
        needed = controls_to_place(result.policy.copy_level)
        alone = f"not valid: one control alone set it, and {needed} controls are needed ({numbers})"
        return CopyCount(f"{_of(one)} pass", "a threshold that one control alone set: not a number of copies", alone)
    return CopyCount(_of(one), "", numbers)


def are_placed(result: AuditResult) -> bool:
    """Return whether there are enough controls to place the copy thresholds."""
    return result.summary.controls >= controls_to_place(result.policy.copy_level)


def _of(one: Replication) -> str:
    return f"{one.hits} of {one.n}"


def threshold_text(thresholds: dict[str, float]) -> str:
    """Return copy thresholds in one line.

    >>> threshold_text({"similarity": 0.85812, "distance": 0.15311})
    'similarity > 0.858, worst tile < 0.153'
    """
    said = f"similarity > {thresholds['similarity']:.3f}, worst tile < {thresholds['distance']:.3f}"
    copy = thresholds.get("copy_similarity")
    return said if copy is None else f"{said}; or copy descriptor > {copy:.3f}"


def rate_text(one: Replication) -> str:
    """Return the rate of copies with its interval; a dash where none were counted."""
    if not is_counted(one):
        return "–"
    return f"{one.rate:.1%} ({one.low:.1%} to {one.high:.1%}, {100 * one.confidence:g} %)"


def closest_text(replica: Replica) -> str:
    """Return every number of a generated image that decides whether it is a copy."""
    if isinstance(replica.similarity, Skipped) or isinstance(replica.distance, Skipped):
        return "not scored"
    said = f"{replica.similarity[DECIDING_DESCRIPTOR]:.3f}, worst tile {replica.distance[DECIDING_DISTANCE]:.3f}"
    copy = find_copy_similarity(replica.similarity)
    return said if copy is None else f"{said}, copy descriptor {copy:.3f}"


def copies_text(finding: Finding, intervals: bool = True) -> str:
    """Return in one line how many copies every rung gave, with their intervals."""
    return "; ".join(_copies(one, intervals) for one in finding.replication)


def _copies(one: Replication, intervals: bool) -> str:
    if not is_counted(one):
        return f"{one.rung.value} {NOT_COUNTED}"
    return f"{one.rung.value} {_of(one)}" + (f" ({one.low:.1%} to {one.high:.1%})" if intervals else "")


_COLUMNS = (
    ("thresholds", "copies and their rate"),
    ("control_rate", "rate for controls"),
    ("p_value", "p against controls"),
    ("coincidence_p_value", "p of coincidence"),
    ("q_value", "q of the text"),
)
"""Fields of a rung that may not have been measured, with the columns of the page."""


def explain_dashes(ladder: Sequence[Replication]) -> list[str]:
    """Return why dashes stand in a table of rungs: every reason once, with the columns that it is of."""
    reasons: dict[str, list[str]] = {}
    for field, column in _COLUMNS:
        for one in ladder:
            if isinstance(value := getattr(one, field), Skipped):
                columns = reasons.setdefault(value.skipped, [])
                columns += [column] if column not in columns else []
    return [f"{', '.join(columns)}: {reason}" for reason, columns in reasons.items()]


def explain_uncounted(result: AuditResult) -> list[str]:
    """Return why copies were not counted, every reason once."""
    told = (one.thresholds for finding in result.findings for one in finding.replication)
    return describe_uncounted(dict.fromkeys(one.skipped for one in told if isinstance(one, Skipped)))


def describe_uncounted(reasons: Iterable[str]) -> list[str]:
    """Return the same of reasons why there are no copy thresholds, each once."""
    return [f"{NOT_COUNTED}: there is no valid copy threshold ({reason})" for reason in reasons]

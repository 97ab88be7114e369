"""What is counted of edited runs, and the goals that are judged by it."""

from collections.abc import Sequence

from imgaudit.benchmark.harness.figures import Goal, MeasuredRate, measure_rate
from imgaudit.benchmark.robustness.tally import Tally

TAMPERED, REWRITTEN, HARMLESS_COPIES = "tampered runs", "runs rewritten as a whole", "harmless copies"
"""Sections of the table."""

FOUND, MISSED, BY_HEAD, PASSES, REFUSED = "found", "missed", "found by the head", "passes", "refused"
"""States in which a case ends."""

KINDS = 40
"""Kinds of edits that are tried at least."""


def goals(tallies: Sequence[Tally]) -> list[Goal]:
    """Return the goals of edited runs; none when no run was edited."""
    kinds = sum(tally.section == TAMPERED for tally in tallies)
    if not kinds:
        return []
    found = _rate(tallies, TAMPERED, (FOUND,), (FOUND, MISSED))
    whole = _rate(tallies, REWRITTEN, (FOUND, BY_HEAD), (FOUND, BY_HEAD, MISSED))
    refused = _rate(tallies, HARMLESS_COPIES, (REFUSED,), (REFUSED, PASSES))
    # Every edit has to be found, so nothing is concluded from a sample: cases are counted.
    missed, lost = _count(tallies, TAMPERED, MISSED), _count(tallies, REWRITTEN, MISSED)
    return [
        Goal.exact("edited runs found, with exit code 5 and the file named", f"all, of at least {KINDS} kinds",
                   f"{found} of {kinds} kinds", met=missed == 0 and kinds >= KINDS),
        Goal.exact("runs rewritten as a whole that a head noted before finds", "all", str(whole),
                   met=lost == 0),
        Goal.exact("harmless copies refused", "0", str(refused), met=_count(tallies, HARMLESS_COPIES, REFUSED) == 0),
    ]  # fmt: skip


def _count(tallies: Sequence[Tally], section: str, state: str) -> int:
    """Return how many cases of a section ended in a state."""
    return sum(tally.states.get(state, 0) for tally in tallies if tally.section == section)


def _rate(tallies: Sequence[Tally], section: str, hits: Sequence[str], states: Sequence[str]) -> MeasuredRate:
    """Count the cases of a section that ended in certain states, among those that ended in any of `states`."""
    ended = [
        state
        for tally in tallies
        if tally.section == section
        for state, count in tally.states.items()
        if state in states
        for _ in range(count)
    ]
    return measure_rate(", ".join(hits), section, [state in hits for state in ended])

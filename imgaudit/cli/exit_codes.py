"""What the exit code of a command means."""

import enum

from imgaudit.schema.comparison import CHANGED, REPRODUCED, Change, Comparison
from imgaudit.schema.config import FailOn
from imgaudit.schema.findings import AuditResult, Verdict


class ExitCode(enum.IntEnum):
    """Exit codes. Where several apply, the first of 130, 2, 4, 5, 1, 3, 0 is used."""

    DECIDED = 0
    """Every image decided, nothing reproduced."""
    REPRODUCED = 1
    """Something reproduced, as `--fail-on` defines it."""
    COULD_NOT_RUN = 2
    """Usage, configuration, unreadable input."""
    INCOMPLETE = 3
    """Skipped or inconclusive images."""
    MODEL_REFUSED = 4
    """The model cannot be loaded, or not safely."""
    VERIFICATION_FAILED = 5
    """Evidence does not match."""
    INTERRUPTED = 130
    """Stopped by the user; the run can be resumed."""


class FailOnChange(enum.StrEnum):
    """Changes that make `imgaudit compare` exit with 1."""

    APPEARED = "appeared"
    CHANGED = "changed"
    NEVER = "never"


def find_failing(fail_on: FailOn) -> frozenset[Verdict]:
    """Return the verdicts that make the exit code 1."""
    if fail_on is FailOn.NEVER:
        return frozenset()
    levels = (FailOn.REPLICATED, FailOn.ATYPICAL, FailOn.INCONCLUSIVE, FailOn.SKIPPED)
    more = (Verdict.ATYPICAL, Verdict.INCONCLUSIVE, Verdict.SKIPPED)
    return frozenset((*REPRODUCED, *more[: levels.index(fail_on)]))


def find_exit_code(result: AuditResult, fail_on: FailOn | None) -> ExitCode:
    """Return the exit code of a finished run.

    fail_on:  verdicts that make it 1; with `never`, what was found and what is undecided do not change it, and with
        None only what is undecided does
    """
    if fail_on is FailOn.NEVER:
        return ExitCode.DECIDED
    counts, failing = result.summary.counts, find_failing(fail_on or FailOn.NEVER)
    if any(counts[verdict] for verdict in failing):
        return ExitCode.REPRODUCED
    if counts[Verdict.SKIPPED] or counts[Verdict.INCONCLUSIVE] or sum(counts.values()) < result.summary.targets:
        return ExitCode.INCOMPLETE
    return ExitCode.DECIDED


def find_comparison_exit_code(comparison: Comparison, fail_on: FailOnChange) -> ExitCode:
    """Return the exit code of a comparison: 1 before 3, so that an image left out never hides one that appeared.

    With `never`, what was found and what could not be compared do not change it.
    """
    if fail_on is FailOnChange.NEVER:
        return ExitCode.DECIDED
    failing: tuple[Change, ...] = {
        FailOnChange.APPEARED: (Change.APPEARED,),
        FailOnChange.CHANGED: CHANGED,
    }[fail_on]
    if any(comparison.counts[change] for change in failing):
        return ExitCode.REPRODUCED
    return ExitCode.INCOMPLETE if comparison.counts[Change.NOT_COMPARABLE] else ExitCode.DECIDED

"""What a verification found: one record per check, with what it compared, what it did not, and every mismatch."""

from typing import Self

from pydantic import Field, computed_field

from imgaudit.schema.records import Record
from imgaudit.schema.replay import Replay


class Check(Record):
    """One check of a run.

    >>> check = Check(name="files", done="3 files have the digest that evidence.json names")
    >>> check.problems, check.not_done
    ((), ())
    """

    name: str
    """Short name of the check, one word: files, records, pictures, verdicts, pages, ..."""
    done: str = ""
    """The comparison that was made, as a sentence with its number; empty when none was made."""
    not_done: tuple[str, ...] = ()
    """Comparisons that were not made, each as a sentence with the reason."""
    problems: tuple[str, ...] = ()
    """Mismatches, in words; each names the file."""


class Verification(Record):
    """The result of checking a run.

    >>> bad = Check(name="files", problems=("'records.jsonl' was changed",))
    >>> found = Verification(head="00", files=1, findings=0, checks=[bad])
    >>> found.matches, found.problems
    (False, ["'records.jsonl' was changed"])
    """

    head: str
    """Head of the chain in evidence.json."""
    files: int
    """Number of files in it."""
    findings: int
    """Number of findings that were decided again."""
    checks: list[Check]
    """Every check, in the order in which it was made."""
    replay: Replay | None = Field(None, exclude_if=lambda value: value is None)
    """The pictures that were generated again; absent where none was asked for."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def problems(self) -> list[str]:
        """Mismatches of all checks, in words; empty when everything matches."""
        return [problem for check in self.checks for problem in check.problems]

    @property
    def matches(self) -> bool:
        """True when there are no problems."""
        return not self.problems

    def with_checks(self, *checks: Check) -> Self:
        """Return the same verification with further checks."""
        return self.model_copy(update={"checks": [*self.checks, *checks]})

    def without(self, sentence: str) -> Self:
        """Return the same verification without one of the comparisons that were not made, since another answers it."""
        checks = [
            check.model_copy(update={"not_done": tuple(one for one in check.not_done if one != sentence)})
            for check in self.checks
        ]
        return self.model_copy(update={"checks": checks})

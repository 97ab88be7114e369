"""What was tried and how it ended: every case in exactly one state, and whatever should not have happened by name."""

from collections import Counter
from collections.abc import Sequence

from imgaudit.schema.records import Record


class Tally(Record):
    """One kind of case."""

    section: str
    """images, texts, models, interruption, damage, network, or a section of edited runs."""
    kind: str
    """What is unusual about it."""
    tried: int
    """Cases."""
    states: dict[str, int]
    """How many ended in which state."""
    problems: list[str]
    """What should not have happened."""


class NotTried(Record):
    """A kind of case that this machine does not allow."""

    kind: str
    """What was left out."""
    reason: str
    """Why."""


class Recorder:
    """Counts cases as they end."""

    def __init__(self) -> None:
        self._states: dict[tuple[str, str], Counter[str]] = {}
        self._problems: dict[tuple[str, str], list[str]] = {}
        self.not_tried: list[NotTried] = []
        """What this machine does not allow."""

    def count(self, section: str, kind: str, state: str, problems: Sequence[str] = ()) -> None:
        """One case has ended in a state, perhaps with something that should not have happened."""
        self._states.setdefault((section, kind), Counter())[state] += 1
        self._problems.setdefault((section, kind), []).extend(problems)

    def leave_out(self, kind: str, reason: str) -> None:
        """A kind of case cannot be tried here."""
        self.not_tried.append(NotTried(kind=kind, reason=reason))

    @property
    def tallies(self) -> list[Tally]:
        """One row per kind, section by section, in the order in which they were first met."""
        sections = list(dict.fromkeys(section for section, _ in self._states))
        rows = sorted(self._states.items(), key=lambda row: sections.index(row[0][0]))
        return [
            Tally(section=section, kind=kind, tried=states.total(), states=dict(sorted(states.items())),
                  problems=self._problems[section, kind])
            for (section, kind), states in rows
        ]  # fmt: skip

"""RUN/review/decisions.jsonl: appended and never changed; a reviewer's newest decision on an image holds.

Each line is linked to the line before it (imgaudit.io.chain), so that lines cannot be removed or edited unnoticed.
"""

import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import filelock
from pydantic import ValidationError

from imgaudit.exceptions import RunFolderError
from imgaudit.io.chain import ChainedFile, ChainedLine, append_chained, read_chained
from imgaudit.io.containment import make_folder
from imgaudit.report.review.decision import ReviewDecision
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.problems import describe_problem

LARGEST_LEDGER = 64 * 2**20
"""Bytes of all decisions on a run; some hundred thousand."""

WAIT = 20.0
"""Seconds that a writer waits for another one, who needs milliseconds."""


@dataclass(frozen=True)
class DamagedLine:
    """A line that is left where it is and counts for nothing."""

    number: int
    """From 1 on."""
    why: str
    """Reason that it counts for nothing."""


@dataclass(frozen=True)
class Ledger:
    """Everything that was decided on a run, oldest line first."""

    history: tuple[ReviewDecision, ...]
    """Every decision."""
    damaged: tuple[DamagedLine, ...]
    """Lines that cannot be read, or are of another run."""
    length: int = 0
    """Bytes of the file that were read."""

    def latest(self) -> dict[tuple[str, str], ReviewDecision]:
        """Return the decision that holds, per image and reviewer: the newest by time, then the later line."""
        newest: dict[tuple[str, str], ReviewDecision] = {}
        for decision in self.history:
            key = (decision.image_id, decision.reviewer)
            if key not in newest or decision.made >= newest[key].made:
                newest[key] = decision
        return newest

    def of_image(self, image_id: str) -> list[ReviewDecision]:
        """Return each reviewer's newest decision on one image."""
        return sorted(self._by_image.get(image_id, ()), key=lambda decision: decision.reviewer)

    @cached_property
    def _by_image(self) -> dict[str, list[ReviewDecision]]:
        held: dict[str, list[ReviewDecision]] = {}
        for (image_id, _), decision in self.latest().items():
            held.setdefault(image_id, []).append(decision)
        return held


class DecisionLedger:
    """The file, held open to nobody: every call locks, checks and closes it."""

    def __init__(self, run: RunFolder, run_id: str) -> None:
        self.run_id = run_id
        self.folder = run.path / "review"
        self.path = self.folder / "decisions.jsonl"

    @property
    def origin(self) -> tuple[str, str]:
        """What the first line is linked to."""
        return "decisions", self.run_id

    def read(self, length: int | None = None) -> Ledger:
        """Read what was decided so far. Raises RunFolderError when the file is a link, or larger than any review.

        length:  bytes to read, as of a time when the file was so long; all of it by default
        """
        chained = self.read_lines(length)
        history, damaged = list[ReviewDecision](), list[DamagedLine]()
        for line in chained.lines:
            decision = self.decision(line)
            if isinstance(decision, str):
                damaged.append(DamagedLine(line.number, decision))
            else:
                history.append(decision)
        return Ledger(tuple(history), tuple(damaged), chained.length)

    def read_lines(self, length: int | None = None) -> ChainedFile:
        """Read the lines of the file with their links; `length` and errors as of `read`."""
        self._require_own()
        return read_chained(self.path, self.origin, LARGEST_LEDGER, length)

    def append(self, decisions: Sequence[ReviewDecision]) -> int:
        """Add what is not there yet, all on disk when this returns; how many were added.

        Raises RunFolderError when another process writes for long, or the file would grow beyond what is read again.
        """
        with self._locked():
            known = {decision.said for decision in self.read().history}
            fresh = []
            for decision in decisions:
                if decision.said not in known:
                    known.add(decision.said)
                    fresh.append(decision.model_dump(mode="json"))
            size = self.path.stat().st_size if self.path.exists() else 0
            # A character takes at most six bytes of JSON, and names of fields are short.
            if size + sum(6 * sum(len(str(value)) for value in one.values()) + 700 for one in fresh) > LARGEST_LEDGER:
                raise RunFolderError(
                    f"{str(self.path)!r} has {size:,} bytes and may have at most {LARGEST_LEDGER:,}; nothing was added"
                )
            append_chained(self.path, self.origin, fresh, LARGEST_LEDGER)
        return len(fresh)

    def decision(self, line: ChainedLine) -> ReviewDecision | str:
        """Return the decision in a line, or the reason that it counts for nothing."""
        if line.record is None:
            return "damaged, or cut by a kill"
        try:
            decision = ReviewDecision.model_validate(line.record)
        except ValidationError as error:
            return describe_problem(error)
        return decision if decision.run_id == self.run_id else f"of run {decision.run_id}"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._require_own()
        make_folder(self.folder)
        try:
            with filelock.FileLock(self.folder / ".lock", timeout=WAIT):
                yield
        except filelock.Timeout as error:
            raise RunFolderError(
                f"{str(self.path)!r} has been written by another process for {WAIT:g} seconds; try again when it ended"
            ) from error

    def _require_own(self) -> None:
        """Raise RunFolderError where a link would make decisions land outside the run, which may be untrusted."""
        for path, kind, name in (
            (self.folder, stat.S_ISDIR, "folder"),
            (self.path, stat.S_ISREG, "regular file"),
            (self.folder / ".lock", stat.S_ISREG, "regular file"),
        ):
            mode = _mode(path)
            if mode and not kind(mode):
                raise RunFolderError(f"{str(path)!r} must be a {name} of the run, and no link; remove it")


def _mode(path: Path) -> int:
    try:
        return path.lstat().st_mode
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise RunFolderError(f"{str(path)!r} cannot be read: {error.strerror}") from error

"""RUN/history.jsonl: every command that changed a run, one linked line when it began and one when it ended.

The lines are linked (`imgaudit.io.chain`), and the first link is bound to the run. A kill leaves a beginning without an
end. Runs of older versions list the commands that continued them in continued.jsonl, without ends.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from types import TracebackType
from typing import Any, Final

import filelock
from pydantic import JsonValue, ValidationError

from imgaudit.exceptions import RunFolderError
from imgaudit.io.chain import ChainedFile, append_chained, read_chained
from imgaudit.io.lock import require_own_lock
from imgaudit.io.provenance import utc_now
from imgaudit.io.reading import format_path
from imgaudit.runs.callbacks import OnProgress
from imgaudit.runs.finished import run_id
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.inventory import HISTORY_LOCK
from imgaudit.schema.history import HistoryEnd, HistoryEntry, HistoryStart, Outcome

MAX_HISTORY_BYTES: Final = 16 * 2**20
"""Bytes of all lines; some ten thousand commands."""

LONGEST_ERROR: Final = 500
"""Characters of an error that are kept."""

WAIT: Final = 20.0
"""Seconds that a writer waits for another one, who needs milliseconds."""


@dataclass(frozen=True)
class History:
    """The history of a run, as far as its lines can be read."""

    entries: tuple[HistoryEntry, ...]
    """Commands, oldest first."""
    length: int
    """Bytes of the file that were read."""

    @property
    def deciding(self) -> list[dict[str, Any]]:
        """The beginnings of the commands that the result comes from, as report.json lists them."""
        return [one.start.model_dump(mode="json", exclude={"event"}) for one in self.entries if one.start.decides]


class Invocation(AbstractContextManager["Invocation"]):
    """A command on a run: `start` appends its beginning, and leaving the context appends its end.

    A command that is refused before it starts leaves no line.
    """

    def __init__(self, run: RunFolder, work: str, command: Sequence[str], operator: str = "") -> None:
        self._run, self._work, self._operator = run, work, operator
        self._command = [format_path(part) for part in command]
        self._number = 0
        self._ended = self._stopped = False
        self.changes: dict[str, JsonValue] = {}

    @property
    def started(self) -> bool:
        """True when its beginning is written."""
        return self._number > 0

    def start(self, work: str = "", *, decides: bool = False) -> None:
        """Append the beginning, before anything changes.

        work:     name of the work, where it is known only now
        decides:  whether the result comes from it
        """

        def make(number: int) -> HistoryStart:
            return HistoryStart(
                number=number, work=work or self._work, command=self._command, operator=self._operator,
                version=metadata.version("imgaudit"), time=utc_now(), decides=decides,
            )  # fmt: skip

        with _locked(self._run):
            self._number = 1 + len(read_history(self._run).entries)
            _append(self._run, make(self._number))

    def end(self, outcome: Outcome = "finished", error: str = "") -> None:
        """Append the end, if the command has started and not ended."""
        if not self._number or self._ended:
            return
        self._ended = True
        line = HistoryEnd(
            number=self._number, outcome=outcome, time=utc_now(), error=error[:LONGEST_ERROR], changes=self.changes
        )
        with _locked(self._run):
            _append(self._run, line)

    def noticing(self, on_progress: OnProgress) -> OnProgress:
        """Return the same callback; whatever it raises interrupts the command and is no error."""

        def noticed(stage: str, done: int, total: int) -> None:
            try:
                on_progress(stage, done, total)
            except BaseException:
                self._stopped = True
                raise

        return noticed

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.end()
            return
        # What ended the command is said, even where the end cannot be written, as on a full disk.
        with suppress(OSError, RunFolderError):
            if self._stopped or isinstance(error, KeyboardInterrupt):
                self.end("interrupted")
            else:
                self.end("error", format_path(f"{type(error).__name__}: {error}"))


def read_history(run: RunFolder, length: int | None = None) -> History:
    """Read the history of a run; lines that cannot be read are left out, and `check_history` names them.

    length:  bytes at the beginning of the file that count; all when not given
    Raises RunFolderError for a link, or a file that is larger than any history.
    """
    return join_history(read_history_lines(run, length))


def join_history(found: ChainedFile) -> History:
    """Return the history that the lines of its file tell; lines that cannot be read are left out."""
    return History(tuple(_join(_lines(found))), found.length)


def read_history_lines(run: RunFolder, length: int | None = None) -> ChainedFile:
    """Read every line with its link; `length` and errors as of `read_history`."""
    return read_chained(run.history_path, _origin(run), MAX_HISTORY_BYTES, length)


def parse_line(record: Mapping[str, Any]) -> HistoryStart | HistoryEnd | None:
    """Return what a line says; None for one that is no line of a history."""
    ends = record.get("event") == "end"
    try:
        return HistoryEnd.model_validate(record) if ends else HistoryStart.model_validate(record)
    except ValidationError:
        return None


def _lines(found: ChainedFile) -> list[HistoryStart | HistoryEnd]:
    return [one for record in found.records if (one := parse_line(record)) is not None]


def _join(lines: Sequence[HistoryStart | HistoryEnd]) -> Iterator[HistoryEntry]:
    ends = {one.number: one for one in reversed(lines) if isinstance(one, HistoryEnd)}
    for one in lines:
        if isinstance(one, HistoryStart):
            yield HistoryEntry(start=one, end=ends.get(one.number))


def _origin(run: RunFolder) -> list[str]:
    return ["history", run_id(run)]


def _append(run: RunFolder, line: HistoryStart | HistoryEnd) -> None:
    append_chained(run.history_path, _origin(run), [line.model_dump(mode="json")], MAX_HISTORY_BYTES)


@contextmanager
def _locked(run: RunFolder) -> Iterator[None]:
    """Hold the file: a review is imported while an audit holds the run, and both append."""
    path = run.path / HISTORY_LOCK
    require_own_lock(path)
    try:
        with filelock.FileLock(path, timeout=WAIT):
            yield
    except filelock.Timeout as error:
        raise RunFolderError(
            f"{str(run.history_path)!r} has been written by another process for {WAIT:g} seconds; try again"
        ) from error

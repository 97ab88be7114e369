"""Histories: what was done to a run, by whom, with which version, and how each command ended."""

from typing import Literal

from pydantic import Field, JsonValue

from imgaudit.schema.records import Record

Outcome = Literal["finished", "interrupted", "error"]


class HistoryStart(Record):
    """A command that began to change a run."""

    event: Literal["start"] = "start"
    """Tells a beginning from an end."""
    number: int = Field(ge=1)
    """Number of the command in the run's history, from 1 on."""
    work: str
    """The work: audit, continued audit, report, dial, review import."""
    command: list[str]
    """The command line, or the call from Python."""
    operator: str
    """Name of the person who ran it; empty when not given."""
    version: str
    """Version of imgaudit."""
    time: str
    """Beginning, in UTC."""
    decides: bool
    """True when the result comes from it: it measured images, or decided by another policy."""


class HistoryEnd(Record):
    """The end of a command. A command without an end was killed, or is still running."""

    event: Literal["end"] = "end"
    """Tells an end from a beginning."""
    number: int = Field(ge=1)
    """Number of the command."""
    outcome: Outcome
    """The way in which it ended."""
    time: str
    """End, in UTC."""
    error: str = ""
    """Message of the error; empty when there was none."""
    changes: dict[str, JsonValue]
    """What changed in the run, such as the number of images that were measured."""


class HistoryEntry(Record):
    """A command with its end, as far as it has one."""

    start: HistoryStart
    """The beginning."""
    end: HistoryEnd | None
    """The end."""

"""What engines have in common: they take chunks from an agenda and give results as they come."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from imgaudit.runs.callbacks import OnStep
from imgaudit.runs.engine.agenda import Agenda, Piece
from imgaudit.runs.engine.chunk import ChunkWork
from imgaudit.runs.image_files import EncodedImage
from imgaudit.schema.records import SkippedImage


@dataclass(frozen=True)
class ChunkEnd:
    """A chunk is done: all its images are measured or skipped."""

    number: int
    """Its place in the run's list of chunks."""


@dataclass(frozen=True)
class ChunkFailure:
    """The process that had a chunk ended before the chunk was done."""

    number: int
    """Its place in the run's list of chunks."""
    reason: str
    """What ended it, as "it was ended by signal 9"."""


@dataclass(frozen=True)
class Step:
    """What a process does next within its chunk."""

    step: str
    """In words."""
    paths: Sequence[str]
    """The images that it is done with."""
    network_evaluations: int
    """The process' network evaluations so far."""


Result = EncodedImage | SkippedImage | ChunkEnd
"""What an engine gives: an image, or the end of a chunk."""

Event = Result | ChunkFailure | Step
"""What the processes of a pool say: what the engine gives, the end of one of them, or what one does next."""


class Engine(Protocol):
    """What measures chunks."""

    @property
    def threads(self) -> int | None:
        """Threads of the processes that measure; None for those of this process."""

    @property
    def devices(self) -> Sequence[str]:
        """Devices that they measure on; none where it is that of the model that was given."""

    def measure(self, work: ChunkWork, agenda: Agenda, on_step: OnStep) -> Iterator[Result]:
        """Measure every chunk of the agenda, in any order, and yield the images of each before its end.

        Raises ImgauditError for what is not one image's fault. A chunk whose process died may yield an image twice.
        """


def describe_processes(engine: Engine | None) -> dict[str, Any]:
    """Return the fields of a manifest that the processes of an engine decide; none where this process measures."""
    if engine is None or engine.threads is None:
        return {}
    named = list(dict.fromkeys(engine.devices))
    return {"threads": engine.threads} | ({"device": ", ".join(named)} if named and named != ["auto"] else {})


def count_sharing(engine: Engine | None) -> int:
    """Return the largest number of an engine's processes that use the memory of one device."""
    return max(Counter(engine.devices).values(), default=1) if engine is not None else 1


class Pool(Protocol):
    """Processes that each hold the model and one chunk at a time."""

    @property
    def is_idle(self) -> bool:
        """True when a process is ready for a chunk."""

    def give(self, piece: Piece) -> None:
        """Hand a chunk to a process that is ready."""

    def wait(self, seconds: float | None) -> Event | None:
        """Return what happens next; None when nothing that matters did within so many seconds, or a process is ready.

        Raises ImgauditError when processes cannot be started, and what they raise that is not one image's fault.
        """


def measure_in_pool(pool: Pool, agenda: Agenda, on_step: OnStep) -> Iterator[Result]:
    """Give chunks to whichever process is ready, and yield what comes, until the agenda is empty and all is done."""
    given: dict[int, Piece] = {}
    while True:
        while pool.is_idle and (piece := agenda.take()) is not None:
            given[piece.number] = piece
            pool.give(piece)
        if not given and agenda.is_empty:
            return
        pause = agenda.pause if pool.is_idle else None
        if not given and pause:
            time.sleep(pause)
            continue
        event = pool.wait(pause)
        if isinstance(event, Step):
            # A stop waits for every chunk that has been begun, so that all their images are in hand.
            others = [path for piece in given.values() for path in piece.paths if path not in event.paths]
            on_step(event.step, [*event.paths, *others])
        elif isinstance(event, ChunkFailure):
            piece = given.pop(event.number)
            on_step(f"beginning a chunk again whose process ended ({event.reason})", piece.paths)
            if skipped := agenda.fail(piece, event.reason):
                yield from skipped
                yield ChunkEnd(piece.number)
        elif event is not None:
            if isinstance(event, ChunkEnd):
                del given[event.number]
            yield event

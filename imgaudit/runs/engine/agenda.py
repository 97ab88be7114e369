"""The chunks that are still to be measured: taken one by one, put back when the process that had one died."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from imgaudit.io.portfolio import Target
from imgaudit.io.reading import format_path
from imgaudit.schema.records import SkippedImage

TRIES = 3
"""Times that a chunk is begun before its images are skipped."""

BACK_OFF = 1.0
"""Seconds before a chunk is begun again; twice as many the next time."""


@dataclass(frozen=True)
class Piece:
    """One chunk that is to be measured."""

    number: int
    """Its place in the run's list of chunks."""
    targets: Sequence[Target]
    """Its images."""
    failures: int = 0
    """Times that the process that had it ended before it was done."""
    not_before: float = 0.0
    """Time from which on it may be begun, in seconds of the clock."""

    @property
    def paths(self) -> list[str]:
        """The paths of its images, as records name them."""
        return [format_path(target.path) for target in self.targets]


class Agenda:
    """Hands out chunks in order; one that fails is handed out again after a pause, and given up after three times."""

    def __init__(self, chunks: Iterable[Sequence[Target]], clock: Callable[[], float] = time.monotonic) -> None:
        """clock: returns seconds, for tests"""
        self._waiting = deque(Piece(number, chunk) for number, chunk in enumerate(chunks))
        self._clock = clock
        self._stopped = False

    @property
    def is_empty(self) -> bool:
        """True when there is nothing left to hand out, now or later."""
        return not self._waiting

    @property
    def pause(self) -> float | None:
        """Seconds until a chunk may be taken, 0 when one may at once; None when none is left."""
        if not self._waiting:
            return None
        return max(0.0, min(piece.not_before for piece in self._waiting) - self._clock())

    def take(self) -> Piece | None:
        """Return the next chunk, None when none may be begun now."""
        now = self._clock()
        for piece in self._waiting:
            if piece.not_before <= now:
                self._waiting.remove(piece)
                return piece
        return None

    def fail(self, piece: Piece, reason: str) -> list[SkippedImage]:
        """Put back a chunk whose process ended; after the last try, return its images as skipped.

        reason:  what ended the process, as "it was ended by signal 9"
        A later command may try again: what ended the process may have been the machine's fault.
        """
        failures = piece.failures + 1
        if self._stopped:
            return []
        if failures < TRIES:
            not_before = self._clock() + BACK_OFF * 2 ** (failures - 1)
            self._waiting.append(replace(piece, failures=failures, not_before=not_before))
            return []
        said = f"measuring it failed: the process that measured it ended {failures} times; the last time {reason}"
        return [SkippedImage(path=path, skipped=said, passing=True) for path in piece.paths]

    def stop(self) -> None:
        """Hand out no more chunks, and take none back."""
        self._stopped = True
        self._waiting.clear()

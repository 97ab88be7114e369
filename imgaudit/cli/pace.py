"""The pace of long work: how much is done, how long it has taken, and about how long the rest takes."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from imgaudit.schema.text import file_name

SECONDS_BETWEEN_LINES = 30
"""Longest silence where progress is written as lines."""


class Pace:
    """Counts finished pieces of work; one piece may take seconds or an hour."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: returns seconds, for tests"""
        self._clock = clock
        self._began = self._counted = clock()
        self._before: int | None = None
        self.done, self.total = 0, 0

    def count(self, done: int, total: int) -> None:
        """Note how much is finished. What was there at the first call was not done at this pace.

        Another total is another stage of the work, which begins anew.
        """
        if self._before is None or total != self.total:
            self._before, self._began = done, self._clock()
        self.done, self.total, self._counted = done, total, self._clock()

    @property
    def seconds_left(self) -> float | None:
        """About how long the rest takes, from the mean of all pieces so far; None before the first one is finished."""
        return self.seconds_for(self.total - self.done)

    def seconds_for(self, pieces: int) -> float | None:
        """About how long the next pieces take, the time that has gone into them already taken off; 0 where they take
        longer than those before."""
        finished = self.done - (self._before or 0)
        if finished <= 0:
            return None
        each = (self._counted - self._began) / finished
        return max(0.0, each * pieces - (self._clock() - self._counted))

    def describe(self) -> str:
        """Return one line, such as "3 of 8, 6 min 0 s so far, about 10 min 0 s left"."""
        left = self.seconds_left
        so_far = f"{format_duration(self._clock() - self._began)} so far"
        if left is None:
            rest = "no estimate yet"
        elif self.done >= self.total:
            rest = "finished"
        elif left == 0:
            rest = "longer than estimated"
        else:
            rest = f"about {format_duration(left)} left"
        return f"{self.done} of {self.total}, {so_far}, {rest}"


class Activity:
    """The step that work in chunks is at, for lines and bars that show that it goes on."""

    def __init__(self) -> None:
        self.step, self.paths = "", list[str]()
        self.in_hand: list[str] = []
        """Images that are measured together, and are finished together."""
        self.count_evaluations: Callable[[], int] | None = None
        """Returns the model's network evaluations so far; None before the model is loaded."""

    def begin(self, step: str, paths: Sequence[str]) -> None:
        """Note the next step, and the images that it is done with."""
        self.step, self.paths = step, list(paths)
        # A step may take the images in hand one at a time.
        if not set(paths) <= set(self.in_hand):
            self.in_hand = list(paths)

    @property
    def evaluations(self) -> int:
        """Network evaluations so far."""
        return self.count_evaluations() if self.count_evaluations is not None else 0

    def describe(self) -> str:
        """Return one line, such as "generating images, of a.png and 7 more, 8,120 network evaluations so far"."""
        if not self.step:
            return ""
        more = f" and {len(self.paths) - 1} more" if len(self.paths) > 1 else ""
        images = f", of {file_name(self.paths[0])}{more}" if self.paths else ""
        return f"{self.step}{images}, {self.evaluations:,} network evaluations so far"


@contextmanager
def repeating(work: Callable[[], None], seconds: float = SECONDS_BETWEEN_LINES) -> Iterator[None]:
    """Call a function every so many seconds until the block ends, also while one long step of the block runs."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(seconds):
            work()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def format_duration(seconds: float) -> str:
    """A time in the two units that matter, cut and not rounded.

    >>> format_duration(9.4), format_duration(100), format_duration(7300), format_duration(200_000)
    ('9 s', '1 min 40 s', '2 h 1 min', '2 d 7 h')
    """
    units = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
    rest = max(1, round(seconds))
    for number, (unit, size) in enumerate(units[:-1]):
        if rest >= size:
            smaller, part = units[number + 1]
            return f"{rest // size} {unit} {rest % size // part} {smaller}"
    return f"{rest} s"

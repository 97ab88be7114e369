"""Ctrl-C and termination: finish the work that has begun, lose nothing, and print the line that continues."""

import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import typer

from imgaudit.cli.exit_codes import ExitCode
from imgaudit.cli.pace import Activity, Pace, format_duration
from imgaudit.cli.terminal import print_error

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C, and what schedulers and service managers send before they kill."""


class Stopped(typer.Exit):
    """The command has stopped where a signal asked for it; the message says how far it came."""

    def __init__(self, message: str) -> None:
        super().__init__(ExitCode.INTERRUPTED)
        _said.append(message)


_said: list[str] = []

_began = time.monotonic()
"""Time at which the command began, as nearly as can be known."""


def say_interrupted() -> None:
    """Print how far the command came and how long it ran, and the line that continues it."""
    ran = format_duration(time.monotonic() - _began)
    message = _said.pop() if _said else f"interrupted after {ran}; what was finished is kept"
    print_error(f"{message}; continue with:", format_command_line())


class Interruption:
    """The first signal finishes the chunk in hand, the second stops at once; either way nothing finished is lost."""

    def __init__(
        self, what: str = "images", activity: Activity | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin to count the time.

        what:      the work is counted in
        activity:  the images in hand, where the work tells
        clock:     returns seconds, for tests
        """
        self.wanted = False
        self._what, self._clock, self._began = what, clock, clock()
        self._activity, self._pace = activity, Pace(clock)

    @contextmanager
    def listening(self) -> Iterator["Interruption"]:
        """Replace the signals' default for the duration."""

        def on_signal(number: int, frame: object) -> None:
            if self.wanted:
                raise KeyboardInterrupt
            self.wanted = True
            print_error(self.describe_stop())

        previous = {number: signal.signal(number, on_signal) for number in SIGNALS}
        try:
            yield self
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def describe_stop(self) -> str:
        """Say what is finished before the command stops, about how long that takes, and what a second signal loses."""
        if not (images := len(self._activity.in_hand) if self._activity else 0):
            return f"stopping when the {self._what} being measured are done; press Ctrl-C again to stop at once"
        left = self._pace.seconds_for(images)
        measured = "the image being measured is" if images == 1 else f"the {images} images being measured are"
        takes = f"in about {format_duration(left)}" if left else "how long that takes is not known yet"
        lost = "this image" if images == 1 else f"these {images} images, which are measured together"
        return (
            f"stopping when {measured} done, {takes}; press Ctrl-C again to stop at once, which loses only the work on "
            f"{lost}"
        )

    def stopping(self, advance: Callable[[int, int], None], stage: str = "") -> Callable[[int, int], None]:
        """Return a progress callback that ends the command after a signal, and says how far it is and what is left.

        stage:  name of this part of the work, where there are several
        """
        pace = self._pace = Pace(self._clock)

        def on_progress(done: int, total: int) -> None:
            advance(done, total)
            pace.count(done, total)
            if self.wanted and done < total:
                raise Stopped(self._describe(pace, stage))

        return on_progress

    def _describe(self, pace: Pace, stage: str) -> str:
        """Say how long the command ran, how much of the work is done, and about how long the rest of it takes."""
        left = pace.seconds_left
        rest = "how long the rest takes is not known yet" if left is None else f"about {format_duration(left)} are left"
        of_stage = " of this stage" if stage and left is not None else ""
        return (
            f"stopped after {format_duration(self._clock() - self._began)}: {f'{stage}, ' if stage else ''}{pace.done} "
            f"of {pace.total} {self._what} are done, {rest}{of_stage}"
        )

    def stopping_stages(self, advance: Callable[[str, int, int], None]) -> Callable[[str, int, int], None]:
        """The same for work in stages."""
        stages: dict[str, Callable[[int, int], None]] = {}

        def on_progress(stage: str, done: int, total: int) -> None:
            if stage not in stages:
                stages[stage] = self.stopping(partial(advance, stage), stage)
            stages[stage](done, total)

        return on_progress


def format_command_line() -> str:
    """Return what was typed, as a line that a shell reads the same way."""
    return shlex.join(["imgaudit", *sys.argv[1:]])

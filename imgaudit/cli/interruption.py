"""Ctrl-C and termination: finish the work that has begun, lose nothing, and print the line that continues."""

import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import typer

from imgaudit.cli.exit_codes import ExitCode
from imgaudit.cli.terminal import print_error

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C, and what schedulers and service managers send before they kill."""


class Stopped(typer.Exit):
    """The command has stopped where a signal asked for it; the message says how far it came."""

    def __init__(self, message: str) -> None:
        super().__init__(ExitCode.INTERRUPTED)
        _said.append(message)


_said: list[str] = []


def say_interrupted() -> None:
    """Print how far the command came, and the line that continues it."""
    message = _said.pop() if _said else "interrupted; what was finished is kept"
    print_error(f"{message}; continue with: {format_command_line()}")


class Interruption:
    """The first signal finishes the chunk in hand, the second stops at once; either way nothing finished is lost."""

    def __init__(self, what: str = "images") -> None:
        """what: the work is counted in."""
        self.wanted = False
        self._what = what

    @contextmanager
    def listening(self) -> Iterator["Interruption"]:
        """Replace the signals' default for the duration."""

        def on_signal(number: int, frame: object) -> None:
            if self.wanted:
                raise KeyboardInterrupt
            self.wanted = True
            print_error(f"stopping when the {self._what} being measured are done; press Ctrl-C again to stop at once")

        previous = {number: signal.signal(number, on_signal) for number in SIGNALS}
        try:
            yield self
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def stopping(self, advance: Callable[[int, int], None]) -> Callable[[int, int], None]:
        """Return a progress callback that ends the command after a signal and says how to continue."""

        def on_progress(done: int, total: int) -> None:
            advance(done, total)
            if self.wanted and done < total:
                raise Stopped(f"stopped: {done} of {total} {self._what} are done")

        return on_progress

    def stopping_stages(self, advance: Callable[[str, int, int], None]) -> Callable[[str, int, int], None]:
        """The same for work in stages."""
        return lambda stage, done, total: self.stopping(partial(advance, stage))(done, total)


def format_command_line() -> str:
    """Return what was typed, as a line that a shell reads the same way."""
    return shlex.join(["imgaudit", *sys.argv[1:]])

"""Callbacks by which work that takes long tells its caller how far it is, and what the user should read."""

from collections.abc import Callable

OnProgress = Callable[[str, int, int], None]
"""Called with the stage, the number of images finished and the number of all."""

OnNote = Callable[[str], None]
"""Called with a sentence that the user should read."""

OnMeasured = Callable[[str, float], None]
"""Called with the path of an image that is measured, and the seconds that it took."""


def ignore_measured(path: str, seconds: float) -> None:
    """Note nothing."""


def ignore_progress(stage: str, done: int, total: int) -> None:
    """Show nothing."""


def ignore_note(sentence: str) -> None:
    """Say nothing."""

"""Callbacks by which work that takes long tells its caller how far it is, and what the user should read."""

from collections.abc import Callable, Sequence

OnProgress = Callable[[str, int, int], None]
"""Called with the stage, the number of images finished and the number of all."""

OnNote = Callable[[str], None]
"""Called with a sentence that the user should read."""

OnMeasured = Callable[[str, float], None]
"""Called with the path of an image that is measured, and the seconds that it took."""


OnStep = Callable[[str, Sequence[str]], None]
"""Called with what is done next within a stage, in words, and the paths of the images that it is done with."""


def ignore_step(step: str, paths: Sequence[str]) -> None:
    """Note nothing."""


def ignore_measured(path: str, seconds: float) -> None:
    """Note nothing."""


def ignore_progress(stage: str, done: int, total: int) -> None:
    """Show nothing."""


def ignore_note(sentence: str) -> None:
    """Say nothing."""

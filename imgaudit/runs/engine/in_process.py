"""The engine of a plain run: this process measures one chunk after the other."""

from collections.abc import Iterator
from dataclasses import dataclass

from imgaudit.exceptions import DeviceError
from imgaudit.models.loading import LoadedModel
from imgaudit.runs.callbacks import OnStep
from imgaudit.runs.engine.agenda import Agenda
from imgaudit.runs.engine.chunk import ChunkWork, measure_images
from imgaudit.runs.engine.pool import ChunkEnd, Result
from imgaudit.similarity.matcher import Matcher

ADVICE = (
    "this process cannot use it any more. What was finished is kept: give the same command again to continue. With "
    "--workers 1 a process whose device fails is replaced, and images that make it fail three times are skipped"
)
"""What to do after the device failed in the command's own process."""


@dataclass(frozen=True)
class InProcess:
    """Measures in this process, with a model that is loaded already."""

    model: LoadedModel
    """The model."""
    matcher: Matcher
    """Compares generated images with the target."""
    threads: int | None = None
    """Those that torch has here."""
    devices: tuple[str, ...] = ()
    """That of the model."""

    def measure(self, work: ChunkWork, agenda: Agenda, on_step: OnStep) -> Iterator[Result]:
        """Measure every chunk in order; every finished one is handed over before the next begins.

        Raises DeviceError when the device failed: nothing more can be measured on it in this process.
        """
        context = work.make_context(self.model, self.matcher, on_step)
        while (piece := agenda.take()) is not None:
            try:
                yield from measure_images(context, piece.targets, keep_files=work.keep_files)
            except DeviceError as error:
                raise DeviceError(f"{error}; {ADVICE}") from error
            yield ChunkEnd(piece.number)

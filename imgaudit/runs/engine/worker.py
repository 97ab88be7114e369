"""A process that holds the model and measures the chunks it is given; the same in every engine with processes."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection, parent_process
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from imgaudit.diffusion.context import MeasurementContext
from imgaudit.exceptions import DeviceError, ImgauditError, WorkerError
from imgaudit.io.offline import go_offline
from imgaudit.models.loading import LoadedModel
from imgaudit.runs.callbacks import OnStep
from imgaudit.runs.engine.agenda import Piece
from imgaudit.runs.engine.chunk import ChunkWork, measure_images
from imgaudit.runs.engine.pool import ChunkEnd, ChunkFailure, Step
from imgaudit.runs.image_files import EncodedImage
from imgaudit.runs.sealing import name_measures
from imgaudit.schema.records import SkippedImage
from imgaudit.similarity.matcher import standard_matcher

Load = Callable[[str], LoadedModel]
"""Loads the model onto a device. It is sent to other processes, so that it must be a function of a module, or a method
or `functools.partial` of such values."""


@dataclass(frozen=True)
class Ready:
    """Said by a process that holds the model and has no chunk."""


@dataclass(frozen=True)
class Refusal:
    """Said by a process that cannot go on, for a reason that is not one image's fault."""

    error: ImgauditError
    """The reason."""


class ModelHolder:
    """The model in a process of its own: loaded once, and used for every chunk that comes."""

    def __init__(self, load: Load, device: str, threads: int, folder: Path) -> None:
        """folder: where the command was given; what it names is found from there

        Raises ModelRefusedError as `load` does.
        """
        torch.set_num_threads(threads)
        if folder.is_dir():
            os.chdir(folder)
        self.model = load(device)
        self._context: MeasurementContext | None = None
        self._keep_files = True

    def prepare(self, work: ChunkWork, on_step: OnStep) -> None:
        """Take over what chunks are measured by from now on.

        Raises WorkerError when this process has another model, or other similarities and distances, than the command.
        """
        denoiser = self.model.denoiser
        if work.config.offline:
            go_offline()
        if denoiser.fingerprint != work.fingerprint:
            raise WorkerError(
                f"a worker loaded a model with the fingerprint {denoiser.fingerprint[:16]}, and this audit is of "
                f"{work.fingerprint[:16]}: its files have changed or are others there; put the same files in place"
            )
        matcher, lacking = standard_matcher(denoiser.resolution, getattr(denoiser, "device", "cpu"))
        own = name_measures(matcher, lacking)
        if work.measures and own != work.measures:
            names = own.keys() | work.measures.keys()
            differing = sorted(name for name in names if own.get(name) != work.measures.get(name))
            raise WorkerError(
                f"a worker does not have the same similarities and distances as this command ({', '.join(differing)}): "
                "install the same weights and packages there"
            )
        self._context = work.make_context(self.model, matcher, on_step)
        self._keep_files = work.keep_files

    def measure(self, piece: Piece) -> Iterator[EncodedImage | SkippedImage]:
        """Measure a chunk, as `measure_images` does."""
        if self._context is None:
            raise WorkerError("a worker was given a chunk before it was told how to measure it")
        return measure_images(self._context, piece.targets, keep_files=self._keep_files)


def serve(orders: Connection, answers: Connection, load: Load, device: str, threads: int) -> None:
    """Run a worker process: load the model, then measure what comes, until None comes or the command has ended.

    orders:   ChunkWork, then Piece after Piece; None ends the process
    answers:  Ready, Step, EncodedImage, SkippedImage and ChunkEnd; Refusal or ChunkFailure before the process ends
    """
    _leave_signals_to_command()
    _end_with_command()
    piece: Piece | None = None
    try:
        holder = ModelHolder(load, device, threads, Path.cwd())
        for order in iter(orders.recv, None):
            if isinstance(order, ChunkWork):
                holder.prepare(order, _telling(answers, holder))
                answers.send(Ready())
                continue
            piece = order
            for image in holder.measure(order):
                answers.send(image)
            answers.send(ChunkEnd(order.number))
            piece = None
    except DeviceError as error:
        # What was in use of the device is lost with this process, and another one can use it again.
        assert piece is not None
        answers.send(ChunkFailure(piece.number, f"it could not go on: {error}"))
    except ImgauditError as error:
        answers.send(Refusal(error))
    except (EOFError, BrokenPipeError):
        # The command has ended, and nobody waits for an answer.
        return
    except Exception as error:
        # What nobody foresaw may have damaged the process: another one begins the chunk again.
        said = f"{type(error).__name__}: {error}"[:300]
        if piece is not None:
            answers.send(ChunkFailure(piece.number, f"it met {said}"))
        else:
            answers.send(Refusal(WorkerError(f"a worker on {device} failed before it measured anything: {said}")))


def _telling(answers: Connection, holder: ModelHolder) -> OnStep:
    def on_step(step: str, paths: Sequence[str]) -> None:
        answers.send(Step(step, list(paths), holder.model.denoiser.network_evaluations))

    return on_step


def _leave_signals_to_command() -> None:
    """Ignore Ctrl-C and SIGTERM, which a terminal and a scheduler send to every process: the command decides."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))


def _end_with_command() -> None:
    """End this process at once when the command's own ends, however that happens, so that none is left behind."""
    command = parent_process()
    if command is None:
        return

    def watch() -> None:
        connection.wait([command.sentinel])
        sys.stderr.flush()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

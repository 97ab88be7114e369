"""The engine of a cluster: actors of Ray, each with the model. Ray is optional and imported when it is used."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from imgaudit.exceptions import ConfigError, DeviceError, ImgauditError, WorkerError
from imgaudit.runs.callbacks import OnStep, ignore_step
from imgaudit.runs.engine.agenda import TRIES, Agenda, Piece
from imgaudit.runs.engine.chunk import ChunkWork
from imgaudit.runs.engine.pool import ChunkEnd, ChunkFailure, Event, Result, Step, measure_in_pool
from imgaudit.runs.engine.worker import Load, ModelHolder
from imgaudit.runs.image_files import EncodedImage
from imgaudit.schema.records import SkippedImage

RESTARTS = 10
"""Times that Ray restarts an actor whose process or machine was lost; after these, a new actor takes its place."""

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_worker_niceness": "0",
}
"""Variables that are set before Ray is imported: it reports nothing about its use, and counts nothing for others. Its
processes run at the priority of any other, as they do all the work; by default it gives them the lowest."""


@dataclass(frozen=True)
class _Measured:
    """A chunk that an actor has measured."""

    images: list[EncodedImage | SkippedImage]
    network_evaluations: int


class MeasuringActor:
    """What runs in an actor's process. Ray makes it anew, without the model, when that process is lost."""

    def __init__(self, load: Load, device: str, threads: int, folder: str, work: ChunkWork) -> None:
        """Keep what is needed; the model is loaded by `prepare`."""
        self._load, self._device, self._threads = load, device, threads
        self._folder, self._work = Path(folder), work
        self._holder: ModelHolder | None = None

    def prepare(self) -> int:
        """Load the model, once; return the id of the process."""
        if self._holder is None:
            holder = ModelHolder(self._load, self._device, self._threads, self._folder)
            holder.prepare(self._work, ignore_step)
            self._holder = holder
        return os.getpid()

    def measure(self, piece: Piece) -> _Measured:
        """Measure a chunk."""
        self.prepare()
        assert self._holder is not None
        images = list(self._holder.measure(piece))
        return _Measured(images, self._holder.model.denoiser.network_evaluations)


@dataclass
class _Place:
    """One actor, and what it is doing."""

    actor: Any
    waiting_for: Any
    """Reference to what it will answer; None when it is ready for a chunk."""
    piece: Piece | None = None
    failures: int = 0
    """Times in a row that its actor was lost before it was ready."""
    network_evaluations: int = 0


class RayActors(AbstractContextManager["RayActors"]):
    """Actors of a Ray cluster: one that is started on this machine alone, or one that is there."""

    def __init__(
        self, load: Load, count: int | None = None, *, device: str = "auto", threads: int | None = None,
        address: str | None = None,
    ) -> None:  # fmt: skip
        """Start or join the cluster.

        load:     loads the model onto a device; the files that it names must be in the same place on every machine
        count:    actors; by default one for each GPU of the cluster
        device:   as of `load`; auto is the GPU that Ray gives an actor, where the cluster has any
        threads:  processor threads, which are also the processors that Ray keeps for each actor; by default 1
        address:  "auto", or HOST:PORT of a running cluster; by default one is started here, and ends with the context
        Raises ConfigError when Ray is not installed, or no number of actors follows from the cluster.
        """
        self._ray = _import_ray()
        self.threads = threads or 1
        self._start_cluster(address, count)
        gpus = int(self._ray.cluster_resources().get("GPU", 0))
        self._gpus = 1 if gpus and device != "cpu" else 0
        if count is None and not self._gpus:
            self.close()
            raise ConfigError("the Ray cluster has no GPU: say with --workers how many processes are to measure")
        self.devices = (device,) * (count or gpus)
        self._load, self._device = load, device
        self._places: list[_Place] = []
        self._told: list[Event] = []
        self._work: ChunkWork | None = None
        self._ended_evaluations = 0

    def _start_cluster(self, address: str | None, count: int | None) -> None:
        options: dict[str, Any] = {"log_to_driver": False, "configure_logging": False, "namespace": "imgaudit"}
        if address is None:
            options["include_dashboard"] = False
            if count is not None:
                # The actors share the cores as the threads say, also where there are fewer cores than that.
                options["num_cpus"] = count * self.threads
        else:
            options["address"] = address
        _let_print(self._ray, wanted=False)
        with _keeping_signals():
            try:
                self._ray.init(**options)
            except Exception as error:
                _let_print(self._ray, wanted=True)
                # On a busy machine its processes may not be ready in time, for which Ray raises a plain Exception.
                where = "on this machine" if address is None else f"at {address}"
                raise WorkerError(f"the Ray cluster {where} could not be reached or started: {error}") from error

    @property
    def network_evaluations(self) -> int:
        """Network evaluations of chunks that are done."""
        return self._ended_evaluations + sum(one.network_evaluations for one in self._places)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the actors, and the cluster where it was started here."""
        self._end_actors()
        self._ray.shutdown()
        _let_print(self._ray, wanted=True)

    def _end_actors(self) -> None:
        places, self._places = getattr(self, "_places", []), []
        for one in places:
            self._ended_evaluations += one.network_evaluations
            self._ray.kill(one.actor, no_restart=True)

    def measure(self, work: ChunkWork, agenda: Agenda, on_step: OnStep) -> Iterator[Result]:
        """Measure every chunk; see `Engine`."""
        if agenda.is_empty:
            return
        self._work = work
        self._places = [self._start() for _ in self.devices]
        try:
            yield from measure_in_pool(self, agenda, on_step)
        finally:
            self._end_actors()

    @property
    def is_idle(self) -> bool:
        """True when an actor is ready for a chunk."""
        return any(one.waiting_for is None for one in self._places)

    def give(self, piece: Piece) -> None:
        """Hand a chunk to an actor that is ready."""
        one = next(one for one in self._places if one.waiting_for is None)
        one.piece, one.waiting_for = piece, one.actor.measure.remote(piece)
        self._told.append(Step("measuring on the cluster", piece.paths, one.network_evaluations))

    def wait(self, seconds: float | None) -> Event | None:
        """Return what comes next; see `Pool`."""
        if self._told:
            return self._told.pop(0)
        waiting = {one.waiting_for: one for one in self._places if one.waiting_for is not None}
        done, _ = self._ray.wait(list(waiting), num_returns=1, timeout=seconds)
        if done:
            self._told += self._read(waiting[done[0]])
        return self._told.pop(0) if self._told else None

    def _read(self, one: _Place) -> list[Event]:
        """Return what an actor's answer tells, and make it ready for the next chunk."""
        piece, answer = one.piece, one.waiting_for
        one.piece = one.waiting_for = None
        try:
            given = self._ray.get(answer)
        except DeviceError as error:
            reason = f"it could not go on: {getattr(error, 'cause', error)}"
            return self._fail(one, piece, reason, is_lost=False)
        except ImgauditError as error:
            # Ray wraps what an actor raised, and adds its traceback to the message.
            raise getattr(error, "cause", error) from None
        except self._ray.exceptions.RayTaskError as error:
            return self._fail(one, piece, f"it met {error.cause!r}"[:300], is_lost=False)
        except self._ray.exceptions.RayError as error:
            return self._fail(one, piece, f"Ray said: {_first_line(error)}", is_lost=True)
        if not isinstance(given, _Measured) or piece is None:
            one.failures = 0
            return []
        one.network_evaluations = given.network_evaluations
        return [*given.images, ChunkEnd(piece.number)]

    def _fail(self, one: _Place, piece: Piece | None, reason: str, *, is_lost: bool) -> list[Event]:
        """Wait until Ray has restarted an actor whose process was lost, or put a new one in its place.

        is_lost:  the process ended; one that met what nobody foresaw, or whose device failed, is ended and not used on
        """
        one.failures = one.failures + 1 if piece is None else 0
        self._ended_evaluations += one.network_evaluations
        one.network_evaluations = 0
        if one.failures >= TRIES:
            raise WorkerError(f"no worker could be started on the Ray cluster, tried {one.failures} times; {reason}")
        if one.failures or not is_lost:
            self._ray.kill(one.actor, no_restart=True)
            one.actor = self._make_actor()
        one.waiting_for = one.actor.prepare.remote()
        return [ChunkFailure(piece.number, reason)] if piece is not None else []

    def _start(self) -> _Place:
        actor = self._make_actor()
        return _Place(actor, actor.prepare.remote())

    def _make_actor(self) -> Any:
        # Work that was lost is not repeated by Ray: the agenda counts tries, and makes pauses between them.
        remote = self._ray.remote(
            num_cpus=self.threads, num_gpus=self._gpus, max_restarts=RESTARTS, max_task_retries=0
        )(MeasuringActor)
        return remote.remote(self._load, self._device, self.threads, str(Path.cwd()), self._work)


def _import_ray() -> Any:
    os.environ.update(SETTINGS)
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise ConfigError("--engine ray needs Ray: pip install 'imgaudit[ray]'") from error
    return ray


def _let_print(ray: Any, *, wanted: bool) -> None:
    """Let Ray print what happens to its workers, or not.

    It prints that to standard output, in colour even into a file, and also where log_to_driver is off; there it would
    stand among a command's results. imgaudit says itself that a process ended and its chunk is begun again.
    """
    worker: Any = getattr(getattr(ray, "_private", None), "worker", None)
    if hasattr(worker, "_worker_logs_enabled"):
        worker._worker_logs_enabled = wanted


def _first_line(error: BaseException) -> str:
    """Return the first line of what Ray says, which goes on for many."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no more was said'}"[:300]


@contextmanager
def _keeping_signals() -> Iterator[None]:
    """Keep this process' answers to Ctrl-C and SIGTERM, which Ray replaces when it starts."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

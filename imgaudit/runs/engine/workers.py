"""The engine of one machine: worker processes, each with the model, on one device or several."""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import TracebackType

from imgaudit.exceptions import WorkerError
from imgaudit.runs.callbacks import OnStep
from imgaudit.runs.engine.agenda import TRIES, Agenda, Piece
from imgaudit.runs.engine.chunk import ChunkWork
from imgaudit.runs.engine.pool import ChunkEnd, ChunkFailure, Event, Result, Step, measure_in_pool
from imgaudit.runs.engine.worker import Load, Ready, Refusal, serve

SECONDS_TO_END = 10.0
"""Time that a worker which has nothing to do has to end by itself."""


def count_cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class _Worker:
    """One place for a process; a process that dies is replaced in it."""

    device: str
    process: SpawnProcess
    orders: Connection
    answers: Connection
    has_model: bool = False
    """True from when its process was ready for the first time."""
    is_ready: bool = False
    piece: Piece | None = None
    deaths: int = 0
    """Processes that ended here before they were ready, one after the other."""
    network_evaluations: int = 0


class Workers(AbstractContextManager["Workers"]):
    """Worker processes on this machine. They start with the first chunk, and end with the context.

    >>> from functools import partial
    >>> from imgaudit.models import load_model
    >>> with Workers(partial(load_model, "demo"), ["cpu", "cpu"], threads=1) as engine:
    ...     engine.devices, engine.threads
    (('cpu', 'cpu'), 1)
    """

    def __init__(self, load: Load, devices: Sequence[str], threads: int | None = None) -> None:
        """Describe the workers; none is started yet.

        load:     loads the model onto a device; see `Load`
        devices:  device of each worker, such as ("cuda:0", "cuda:1"); may repeat
        threads:  processor threads of each; by default the cores that there are, divided
        """
        self.devices = tuple(devices)
        self.threads = threads or max(1, count_cores() // len(self.devices))
        self._load = load
        self._workers: list[_Worker] = []
        self._work: ChunkWork | None = None
        self._ended_evaluations = 0

    @property
    def network_evaluations(self) -> int:
        """Network evaluations that the workers have told of so far."""
        return self._ended_evaluations + sum(one.network_evaluations for one in self._workers)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(at_once=error is not None)

    def close(self, *, at_once: bool = False) -> None:
        """End every worker and wait until it has ended; with `at_once`, whatever it is doing."""
        workers, self._workers = self._workers, []
        for one in workers:
            if at_once or one.piece is not None or not one.is_ready:
                one.process.kill()
            else:
                _tell(one, None)
        for one in workers:
            one.process.join(SECONDS_TO_END)
            if one.process.is_alive():
                one.process.kill()
                one.process.join()
            one.orders.close()
            one.answers.close()
            self._ended_evaluations += one.network_evaluations

    def measure(self, work: ChunkWork, agenda: Agenda, on_step: OnStep) -> Iterator[Result]:
        """Measure every chunk; see `Engine`."""
        if agenda.is_empty:
            return
        self._work = work
        for one in self._workers:
            one.is_ready = False
            _tell(one, work)
        while len(self._workers) < len(self.devices):
            self._workers.append(self._start(self.devices[len(self._workers)]))
        finished = False
        try:
            yield from measure_in_pool(self, agenda, on_step)
            finished = True
        finally:
            # Chunks that nobody waits for any more must not go on.
            if not finished:
                self.close(at_once=True)

    @property
    def is_idle(self) -> bool:
        """True when a worker is ready for a chunk."""
        return any(one.is_ready and one.piece is None for one in self._workers)

    def give(self, piece: Piece) -> None:
        """Hand a chunk to a worker that is ready."""
        one = next(one for one in self._workers if one.is_ready and one.piece is None)
        one.piece = piece
        _tell(one, piece)

    def wait(self, seconds: float | None) -> Event | None:
        """Return what a worker says next; see `Pool`."""
        answering = connection.wait([one.answers for one in self._workers], seconds)
        for one in self._workers:
            if one.answers in answering:
                return self._read(one)
        return None

    def _read(self, one: _Worker) -> Event | None:
        try:
            answer = one.answers.recv()
        except (EOFError, OSError):
            return self._replace(one)
        if isinstance(answer, Refusal):
            raise answer.error
        if isinstance(answer, Ready):
            one.has_model = one.is_ready = True
            return None
        if isinstance(answer, Step):
            one.network_evaluations = answer.network_evaluations
        if isinstance(answer, ChunkEnd | ChunkFailure):
            one.piece, one.is_ready = None, isinstance(answer, ChunkEnd)
        assert isinstance(answer, Event)
        return answer

    def _replace(self, one: _Worker) -> ChunkFailure | None:
        """Start a process in the place of one that died, and say which chunk it had."""
        one.process.join()
        reason = describe_end(one.process.exitcode)
        deaths = 0 if one.has_model else one.deaths + 1
        one.orders.close()
        one.answers.close()
        self._ended_evaluations += one.network_evaluations
        if deaths >= TRIES:
            raise WorkerError(
                f"no worker could be started on {one.device}: {deaths} ended while they loaded the model, the last "
                f"time {reason}; give fewer --workers, or other --devices"
            )
        fresh = self._start(one.device)
        fresh.deaths = deaths
        self._workers[self._workers.index(one)] = fresh
        return ChunkFailure(one.piece.number, reason) if one.piece is not None else None

    def _start(self, device: str) -> _Worker:
        # Not forked: this process has threads, and a model on a device. One pipe for each direction, because a pair of
        # sockets would count as a connection.
        context = get_context("spawn")
        orders_end, orders = context.Pipe(duplex=False)
        answers, answers_end = context.Pipe(duplex=False)
        process = context.Process(
            target=serve, args=(orders_end, answers_end, self._load, device, self.threads), daemon=True,
            name=f"imgaudit worker on {device}",
        )  # fmt: skip
        with _holding_signals():
            process.start()
        # Only the worker has these ends now, so that its death is seen.
        orders_end.close()
        answers_end.close()
        one = _Worker(device, process, orders, answers)
        _tell(one, self._work)
        return one


def describe_end(exit_code: int | None) -> str:
    """Return what ended a process, in words that follow "the last time".

    >>> describe_end(-9), describe_end(3)
    ('it was ended by signal 9 (SIGKILL), as when memory runs out', 'it ended with exit code 3')
    """
    if exit_code is None or exit_code >= 0:
        return f"it ended with exit code {exit_code}"
    try:
        name = f" ({signal.Signals(-exit_code).name})"
    except ValueError:
        name = ""
    return f"it was ended by signal {-exit_code}{name}{', as when memory runs out' if exit_code == -9 else ''}"


def _tell(one: _Worker, order: ChunkWork | Piece | None) -> None:
    """Send an order. A worker that is dead cannot take it, which is seen when its answers are read."""
    try:
        one.orders.send(order)
    except (BrokenPipeError, OSError):
        return


@contextmanager
def _holding_signals() -> Iterator[None]:
    """Keep Ctrl-C and SIGTERM from a process that is being started, until it has said that it ignores them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

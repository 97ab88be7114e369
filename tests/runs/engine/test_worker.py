"""What a worker process checks before it measures, and how it ends."""

from collections.abc import Callable
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch

from imgaudit.exceptions import ModelRefusedError, WorkerError
from imgaudit.io.captions import CaptionSource
from imgaudit.io.portfolio import read_portfolio
from imgaudit.models import LoadedModel, load_model
from imgaudit.runs.callbacks import ignore_step
from imgaudit.runs.engine import worker
from imgaudit.runs.engine.agenda import Piece
from imgaudit.runs.engine.chunk import AskingRule, ChunkWork, never_a_copy
from imgaudit.runs.engine.pool import ChunkFailure
from imgaudit.runs.engine.worker import ModelHolder, Ready, Refusal, serve
from imgaudit.schema.records import SkippedImage
from tests.runs.engine.test_agenda import make_targets
from tests.support.deadly_model import FAILURE, raise_device_failure
from tests.support.engine_runs import CONFIG

Answers = Callable[..., list[object]]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """answers(load, *orders) is what a worker says to orders, run in this process."""
    monkeypatch.setattr(worker, "_leave_signals_to_command", lambda: None)

    def give(load: Callable[[str], LoadedModel], *orders: object) -> list[object]:
        orders_end, orders_start = Pipe(duplex=False)
        answers_end, answers_start = Pipe(duplex=False)
        for order in (*orders, None):
            orders_start.send(order)
        serve(orders_end, answers_start, load, "cpu", torch.get_num_threads())
        answers_start.close()
        return list(read_all(answers_end))

    return give


def read_all(connection: Connection) -> list[object]:
    found: list[object] = []
    while True:
        try:
            found.append(connection.recv())
        except EOFError:
            return found


def work(fingerprint: str, **measures: str) -> ChunkWork:
    return ChunkWork(CONFIG, never_a_copy, AskingRule(), True, fingerprint, measures)


def test_a_worker_is_ready_when_it_holds_the_same_model(model_folder: Path, answers: Answers) -> None:
    fingerprint = load_model(str(model_folder), "cpu").denoiser.fingerprint
    assert answers(partial(load_model, str(model_folder)), work(fingerprint)) == [Ready()]


def test_another_model_or_other_measures_are_refused(model_folder: Path, answers: Answers) -> None:
    load = partial(load_model, str(model_folder))
    [said] = answers(load, work("f" * 64))
    assert isinstance(said, Refusal) and "ffffffffffffffff: its files have changed" in str(said.error)
    holder = ModelHolder(load, "cpu", torch.get_num_threads(), Path.cwd())
    with pytest.raises(WorkerError, match=r"\(.*telepathy.*\): install the same"):
        holder.prepare(work(holder.model.denoiser.fingerprint, telepathy="measured"), ignore_step)
    with pytest.raises(WorkerError, match="before it was told"):
        holder.measure(Piece(0, make_targets("a.png")))


def test_a_model_that_cannot_be_loaded_is_said(answers: Answers, tmp_path: Path) -> None:
    [said] = answers(partial(load_model, str(tmp_path / "nowhere")), work(""))
    assert isinstance(said, Refusal) and isinstance(said.error, ModelRefusedError)

    def fail(device: str) -> LoadedModel:
        raise OSError("disk on fire")

    [said] = answers(fail, work(""))
    assert isinstance(said, Refusal) and "failed before it measured anything: OSError: disk on fire" in str(said.error)


def test_what_nobody_foresaw_fails_the_chunk_and_ends_the_worker(
    model_folder: Path, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object, **more: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(worker, "measure_images", fail)
    fingerprint = load_model(str(model_folder), "cpu").denoiser.fingerprint
    said = answers(
        partial(load_model, str(model_folder)), work(fingerprint), Piece(4, make_targets("a.png")), Piece(5, [])
    )
    assert said == [Ready(), ChunkFailure(4, "it met RuntimeError: a bug")]


def test_a_device_that_failed_ends_the_worker(
    model_folder: Path, answers: Answers, make_folder: Callable[..., Path]
) -> None:
    def load(device: str) -> LoadedModel:
        loaded = load_model(str(model_folder), device)
        loaded.denoiser.encode = raise_device_failure  # type: ignore[method-assign]
        return loaded

    fingerprint = load_model(str(model_folder), "cpu").denoiser.fingerprint
    folder = make_folder("images", range(2))
    portfolio = read_portfolio(folder, CaptionSource(folder))
    said = answers(load, work(fingerprint), Piece(4, portfolio.targets), Piece(5, portfolio.targets))
    # Every image of the chunk is left to another process; none is skipped here.
    assert not [one for one in said if isinstance(one, SkippedImage)] and isinstance(said[0], Ready)
    assert said[-1] == ChunkFailure(4, f"it could not go on: the device failed: {FAILURE}")

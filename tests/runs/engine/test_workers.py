"""Real worker processes: the same run as without them, whatever happens to them."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from imgaudit.benchmark.robustness.processes import find_descendants
from imgaudit.exceptions import WorkerError
from imgaudit.models import LoadedModel, load_model
from imgaudit.runs.engine.workers import Workers, describe_end
from tests.support.deadly_model import FAILURE, load_deadly
from tests.support.engine_runs import add_deadly_image, measure_run, read_files, read_findings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(model_folder: Path) -> LoadedModel:
    return load_model(str(model_folder), "cpu")


@pytest.fixture(scope="module")
def workers(model_folder: Path) -> Iterator[Workers]:
    """Two workers for all tests, as one command has the same for its controls and its images."""
    with Workers(partial(load_deadly, str(model_folder)), ["cpu", "cpu"], threads=1) as both:
        yield both
    assert not living_workers()


def living_workers() -> list[int]:
    """Processes below this one that are workers of an engine."""
    return find_descendants(os.getpid(), "spawn_main")


def test_the_run_is_the_same_as_without_workers_and_survives_a_kill(
    model: LoadedModel, workers: Workers, make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder, killed = make_folder("images", range(5)), list[int]()
    plain = measure_run(folder, model, tmp_path / "plain", None)
    before = model.denoiser.network_evaluations
    said: list[str] = []

    def kill_one(step: str, paths: Sequence[str]) -> None:
        said.append(step)
        # The first to be killed may be without a chunk on a busy machine; then another one is.
        if step == "generating images" and len(killed) < 2 and not any("signal 9" in one for one in said):
            killed.append(next(one for one in living_workers() if one not in killed))
            os.kill(killed[-1], signal.SIGKILL)

    worked = measure_run(folder, model, tmp_path / "worked", workers, on_step=kill_one)
    assert worked == plain and len(plain) == 5
    assert read_files(tmp_path / "worked") == read_files(tmp_path / "plain")
    # The command's own process measured nothing, and its count of evaluations comes from the others.
    assert model.denoiser.network_evaluations == before < before + workers.network_evaluations
    assert killed and any("signal 9" in step for step in said)


def test_a_stop_finishes_chunks_in_hand_and_the_run_continues_without_workers(
    model: LoadedModel, workers: Workers, make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    class Stopped(Exception):
        pass

    folder = make_folder("images", range(10, 18))

    def stop(done: int, total: int) -> None:
        if 0 < done < total:
            raise Stopped

    with pytest.raises(Stopped):
        measure_run(folder, model, tmp_path / "run", workers, on_progress=stop)
    records = (tmp_path / "run" / "records.jsonl").read_text().splitlines()
    # Two images in each chunk, and two workers that had one.
    assert len(records) in (2, 4) and all(json.loads(line)["stage"] == "measured" for line in records)
    resumed = measure_run(folder, model, tmp_path / "run", None)
    assert resumed == measure_run(folder, model, tmp_path / "whole", None)


def test_a_chunk_that_always_ends_its_worker_is_skipped_with_the_reason(
    model: LoadedModel, workers: Workers, make_folder: Callable[..., Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("imgaudit.runs.engine.agenda.TRIES", 2)
    folder = make_folder("images", range(20, 23))
    add_deadly_image(folder)
    findings = measure_run(folder, model, tmp_path / "run", workers)
    verdicts = {Path(one["path"]).name: one["verdict"] for one in findings}
    assert len(verdicts) == 4 and verdicts["white.png"] == "skipped"
    # With the other image of its chunk, and with no others.
    assert sorted(verdicts.values()).count("skipped") == 2
    reason = next(one["reason"] for one in findings if one["path"].endswith("white.png"))
    assert "ended 2 times" in reason and "signal 9 (SIGKILL), as when memory runs out" in reason
    assert read_findings(tmp_path / "run") == findings


def test_a_worker_whose_device_failed_is_replaced_and_others_are_measured(
    model: LoadedModel, workers: Workers, make_folder: Callable[..., Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("imgaudit.runs.engine.agenda.TRIES", 2)
    folder = make_folder("images", range(30, 37))
    add_deadly_image(folder, failing=True)
    said: list[str] = []
    findings = measure_run(folder, model, tmp_path / "run", workers, on_step=lambda step, paths: said.append(step))
    # A worker that was used on would have skipped all that came after.
    skipped = {Path(one["path"]).name: one["reason"] for one in findings if one["verdict"] == "skipped"}
    assert len(findings) == 8 and len(skipped) == 2 and "ended 2 times" in skipped["black.png"]
    assert all(FAILURE in reason and "asynchronously" not in reason for reason in skipped.values())
    assert any("could not go on" in step for step in said)


def test_workers_that_hold_another_model_measure_nothing(
    other_model_folder: Path, model: LoadedModel, make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    began = time.monotonic()
    with (
        Workers(partial(load_model, str(other_model_folder)), ["cpu"], threads=1) as others,
        pytest.raises(WorkerError, match="its files have changed"),
    ):
        measure_run(make_folder("images", [1]), model, tmp_path / "run", others)
    assert not others._workers and time.monotonic() - began < 600


def test_what_ended_a_process_is_said_in_words() -> None:
    assert describe_end(-15) == "it was ended by signal 15 (SIGTERM)"
    assert describe_end(1) == "it ended with exit code 1"

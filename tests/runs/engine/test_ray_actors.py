"""A real Ray cluster on this machine: the same run as without it, also when an actor is killed."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from imgaudit.benchmark.robustness.processes import find_descendants
from imgaudit.exceptions import ConfigError, WorkerError
from imgaudit.models import load_model
from imgaudit.runs.engine import ray_actors
from imgaudit.runs.engine.ray_actors import RayActors
from tests.support.deadly_model import FAILURE, load_deadly
from tests.support.engine_runs import add_deadly_image, measure_run, read_files

pytestmark = [pytest.mark.slow, pytest.mark.enable_socket]


def measuring_actors() -> list[int]:
    """Processes below this one that run an actor."""
    return find_descendants(os.getpid(), "MeasuringActor")


@pytest.mark.filterwarnings("ignore")
def test_a_local_cluster_gives_the_same_run_after_a_kill_and_replaces_an_actor_whose_device_failed(
    model_folder: Path, make_folder: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model, folder = load_model(str(model_folder), "cpu"), make_folder("images", range(6))
    plain = measure_run(folder, model, tmp_path / "plain", None)
    killed: list[int] = []
    said: list[str] = []

    def kill_one(step: str, paths: Sequence[str]) -> None:
        said.append(step)
        # The second chunk is given when the first one is being measured.
        if len(said) == 2 and not killed:
            killed.append(measuring_actors()[0])
            os.kill(killed[0], signal.SIGKILL)

    others = make_folder("others", range(10, 13))
    add_deadly_image(others, failing=True)
    terminated = signal.getsignal(signal.SIGTERM)
    with RayActors(partial(load_deadly, str(model_folder)), 2, device="cpu", threads=1) as engine:
        assert signal.getsignal(signal.SIGTERM) is terminated
        assert engine.devices == ("cpu", "cpu")
        measured = measure_run(folder, model, tmp_path / "run", engine, on_step=kill_one)
        failed = measure_run(others, model, tmp_path / "failed", engine)
    skipped = {Path(one["path"]).name: one["reason"] for one in failed if one["verdict"] == "skipped"}
    assert len(failed) == 4 and len(skipped) == 2 and FAILURE in skipped["black.png"]
    assert measured == plain and read_files(tmp_path / "run") == read_files(tmp_path / "plain")
    assert killed and any("begin" in step for step in said)
    assert engine.network_evaluations > 0
    assert not measuring_actors()
    # Ray tells of a killed worker on standard output, where a command's results stand.
    assert capfd.readouterr().out == ""


def test_a_cluster_that_is_not_ready_in_time_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def time_out(**options: object) -> None:
        # What Ray raises on a busy machine has no class of its own.
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray_actors, "_import_ray", lambda: SimpleNamespace(init=time_out))
    with pytest.raises(WorkerError, match="on this machine could not be reached or started: The current node timed"):
        RayActors(partial(load_model, "demo"), 2)


def test_without_ray_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'imgaudit\[ray\]'"):
        RayActors(partial(load_model, "demo"), 2)

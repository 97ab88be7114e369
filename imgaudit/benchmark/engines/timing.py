"""Wall time of the same run by one process, by worker processes and by actors of Ray, in turn, several times."""

import importlib.util
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from imgaudit.benchmark.harness.lab_work import LabWork
from imgaudit.benchmark.harness.procedure import OnStage
from imgaudit.benchmark.robustness.bench import findings_of_run
from imgaudit.benchmark.settings import EngineSettings
from imgaudit.io.portfolio import Portfolio
from imgaudit.models import load_model
from imgaudit.models.loading import BUNDLED, LoadedModel
from imgaudit.runs.conclusion import conclude
from imgaudit.runs.engine.pool import Engine
from imgaudit.runs.engine.ray_actors import RayActors
from imgaudit.runs.engine.workers import Workers
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.manifest import make_manifest, open_manifest
from imgaudit.runs.measurement import measure_targets
from imgaudit.runs.sealing import name_measures
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.records import Record
from imgaudit.similarity.matcher import standard_matcher

ONE_PROCESS = "one process"
"""Name of the run without any engine."""

Open = Callable[[], AbstractContextManager[Engine | None]]
"""Opens an engine; None is this process."""


class EngineRun(Record):
    """One run by one engine."""

    engine: str
    """One process, workers or ray."""
    processes: int
    """Processes that measured."""
    repeat: int
    """Which time it was measured, from 0."""
    seconds: float
    """Wall time from when the first image is begun to when the last one is written."""
    around_seconds: float
    """Wall time before and after: processes start, each loads the model, and they end."""
    same: bool
    """True when records and findings are those of the first run of one process, apart from seconds."""


@dataclass(frozen=True)
class Work:
    """What every run measures."""

    portfolio: Portfolio
    """The images."""
    model: LoadedModel
    """The model, in this process."""
    config: AuditConfig
    """How they are measured."""


def explain_missing_ray() -> str:
    """Return why Ray cannot be measured here; empty where it can."""
    return "" if importlib.util.find_spec("ray") else "Ray is not installed: pip install 'imgaudit[ray]'"


def name_model(settings: EngineSettings) -> str:
    """Return the name of a lab's model, or its folder."""
    return settings.model if settings.model in BUNDLED else str(Path(settings.model) / "model")


def list_engines(settings: EngineSettings) -> dict[str, Open]:
    """Return what opens each engine, by its name, one process first; Ray only where it is installed."""
    load = partial(load_model, name_model(settings))
    engines: dict[str, Open] = {
        ONE_PROCESS: nullcontext,
        "workers": lambda: Workers(load, [settings.device] * settings.processes, settings.threads),
    }
    if not explain_missing_ray():
        engines["ray"] = lambda: RayActors(load, settings.processes, device=settings.device, threads=settings.threads)
    return engines


def time_engines(settings: EngineSettings, on_stage: OnStage) -> tuple[list[EngineRun], int]:
    """Measure the same images by every engine in turn, as often as the settings say; also return how many there are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        lab = LabWork.open(settings, on_stage)
        work = _choose_work(settings, lab)
        runs = time_in_turn(work, list_engines(settings), settings.repeats, on_stage)
        return runs, len(work.portfolio.targets)
    finally:
        torch.set_num_threads(threads)


def _choose_work(settings: EngineSettings, lab: LabWork) -> Work:
    by_hash = sorted(lab.lab.description.images, key=lambda image: image.sha256)
    images = [one for one in by_hash if one.sha256 in lab.located][: settings.count]
    config = AuditConfig(
        effort=settings.effort, framing=lab.framing, chunk_size=settings.chunk_size, batch_size=64, seed=settings.seed,
        device=settings.device,
    )  # fmt: skip
    return Work(lab.load(images), lab.lab.loaded, config)


def time_in_turn(work: Work, engines: Mapping[str, Open], repeats: int, on_stage: OnStage) -> list[EngineRun]:
    """Measure the same by every engine in turn, and again; every run is compared with the first one."""
    runs, first = list[EngineRun](), dict[str, Any]()
    # The first passes of a process are slow. One process is warm in every repeat, so that all its runs are alike.
    few = Portfolio(work.portfolio.targets[: work.config.chunk_size], [])
    time_run(Work(few, work.model, work.config), nullcontext)
    for repeat in range(repeats):
        for place, (name, make) in enumerate(engines.items()):
            on_stage(f"measuring by {name}", repeat * len(engines) + place, repeats * len(engines))
            run, results = time_run(work, make)
            first = first or results
            runs.append(run.model_copy(update={"engine": name, "repeat": repeat, "same": results == first}))
    return runs


def time_run(work: Work, make: Open) -> tuple[EngineRun, dict[str, Any]]:
    """Measure into a run folder that is removed; return the times, and the records and findings without seconds."""
    with TemporaryDirectory() as folder:
        run = RunFolder(Path(folder) / "run")
        began = time.perf_counter()
        with make() as engine:
            started, ended = _measure(run, work, engine)
            processes = 1 if engine is None else len(engine.devices)
        whole = time.perf_counter() - began
        results = _read_results(run)
    measured = ended - started
    return EngineRun(
        engine=ONE_PROCESS, processes=processes, repeat=0, seconds=measured, around_seconds=whole - measured, same=True
    ), results


def _measure(run: RunFolder, work: Work, engine: Engine | None) -> tuple[float, float]:
    """Measure into a run folder; return when the first image was begun and when the last one was written."""
    begun = list[float]()
    denoiser = work.model.denoiser
    matcher, lacking = standard_matcher(denoiser.resolution, getattr(denoiser, "device", "cpu"))

    def note(step: str, paths: Sequence[str]) -> None:
        begun.append(time.perf_counter())

    with run.lock():
        manifest = make_manifest(
            ["imgaudit benchmark engines"], work.config, {}, work.model, work.portfolio,
            measures=name_measures(matcher, lacking),
        )  # fmt: skip
        open_manifest(run.path, manifest)
        for _ in measure_targets(
            run, work.portfolio, work.model, work.config, matcher=matcher, engine=engine, on_step=note
        ):
            pass
    return begun[0], time.perf_counter()


def _read_results(run: RunFolder) -> dict[str, Any]:
    """Conclude a run, and return its records and findings, without what clocks decide."""
    with run.lock():
        conclude(run)
    lines = (run.path / "records.jsonl").read_text(encoding="utf-8").splitlines()
    # Engines write records in the order in which images are done; a record's checksum is also over its seconds.
    records = sorted((json.loads(line) for line in lines), key=lambda one: str(one["path"]))
    kept = [{key: one[key] for key in one.keys() - {"seconds", "check"}} for one in records]
    return {"records": kept, "findings": findings_of_run(run.path)}

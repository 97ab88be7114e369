"""Wall time of the same run by one process, by worker processes and by actors of Ray, one after the other."""

import importlib.util
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from imgaudit.benchmark.harness.figures import Goal, format_goals
from imgaudit.benchmark.harness.lab_model import describe_machine
from imgaudit.benchmark.harness.lab_work import LabWork
from imgaudit.benchmark.harness.procedure import OnStage, report_procedure
from imgaudit.benchmark.harness.table import Table
from imgaudit.benchmark.settings import EngineSettings
from imgaudit.io.portfolio import Portfolio
from imgaudit.models import LoadedModel, load_model
from imgaudit.models.loading import BUNDLED
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

LARGEST = {"workers": 0.55, "ray": 0.60}
"""Share of the time of one process that two processes of an engine may take."""


class EngineTime(Record):
    """One engine."""

    name: str
    """One process, workers or ray."""
    processes: int
    """Processes that measured."""
    seconds: float
    """Wall time from the first image to the last."""
    start_seconds: float
    """Wall time before the first image: processes start, and each loads the model."""
    same: bool
    """True when every record is that of one process, apart from seconds."""


class EngineReport(Table):
    """All engines."""

    machine: str
    """Machine and processors."""
    model: str
    """What was audited."""
    images: int
    """Images that were measured."""
    chunk_size: int
    """Images measured together."""
    threads: int
    """Threads of each process."""
    engines: list[EngineTime]
    """One process first."""
    without_ray: str = ""
    """Why Ray was not measured; empty where it was."""

    def ratio(self, engine: EngineTime, *, with_start: bool = False) -> float:
        """Return an engine's wall time over that of one process."""
        plain = self.engines[0]
        own, one = engine.seconds, plain.seconds
        return (own + engine.start_seconds) / (one + plain.start_seconds) if with_start else own / one

    @property
    def goals(self) -> list[Goal]:
        """Goals of two processes, each measured once."""
        return [
            # One measurement has no interval, and a goal is met by a bound, never by an estimate.
            Goal.unmeasured(
                f"wall time of two processes over one, {one.name}", f"at most {LARGEST[one.name]:.2f}",
                f"{self.ratio(one):.2f}, measured once, so without an interval",
            )
            for one in self.engines
            if one.name in LARGEST and one.processes == 2
        ]  # fmt: skip


def measure_engines(settings: EngineSettings, on_stage: OnStage) -> EngineReport:
    """Measure the same images by every engine, each in a run folder of its own that is removed."""
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        return _measure_engines(settings, on_stage)
    finally:
        torch.set_num_threads(threads)


def _measure_engines(settings: EngineSettings, on_stage: OnStage) -> EngineReport:
    work = LabWork.open(settings, on_stage)
    by_hash = sorted(work.lab.description.images, key=lambda image: image.sha256)
    images = [one for one in by_hash if one.sha256 in work.located][: settings.count]
    portfolio, model = work.load(images), work.lab.loaded
    load = partial(load_model, settings.model if settings.model in BUNDLED else str(work.lab.folder / "model"))
    makers: dict[str, Callable[[], AbstractContextManager[Engine | None]]] = {
        "one process": nullcontext,
        "workers": lambda: Workers(load, [settings.device] * settings.processes, settings.threads),
    }
    without_ray = "" if importlib.util.find_spec("ray") else "Ray is not installed: pip install 'imgaudit[ray]'"
    if not without_ray:
        makers["ray"] = lambda: RayActors(load, settings.processes, device=settings.device, threads=settings.threads)
    config = AuditConfig(
        effort=settings.effort, framing=work.framing, chunk_size=settings.chunk_size, batch_size=64, seed=settings.seed,
        device=settings.device,
    )  # fmt: skip
    found, first = list[EngineTime](), list[dict[str, object]]()
    for done, (name, make) in enumerate(makers.items()):
        on_stage(f"measuring by {name}", done, len(makers))
        with TemporaryDirectory() as folder:
            began = time.perf_counter()
            with make() as engine:
                started, ended = _time_run(Path(folder) / "run", portfolio, model, config, engine)
            records = _read_records(Path(folder) / "run")
        first = first or records
        count = 1 if engine is None else len(engine.devices)
        found.append(
            EngineTime(name=name, processes=count, seconds=ended - started, start_seconds=started - began,
                       same=records == first)
        )  # fmt: skip
    return EngineReport(
        machine=describe_machine(), model=settings.model, images=len(images), chunk_size=settings.chunk_size,
        threads=settings.threads, engines=found, without_ray=without_ray,
    )  # fmt: skip


def _time_run(
    folder: Path, portfolio: Portfolio, model: LoadedModel, config: AuditConfig, engine: Engine | None
) -> tuple[float, float]:
    """Measure into a run folder; return when the first step began and when the last image was written."""
    run, begun = RunFolder(folder), list[float]()
    matcher, lacking = standard_matcher(model.denoiser.resolution, getattr(model.denoiser, "device", "cpu"))

    def note(step: str, paths: Sequence[str]) -> None:
        begun.append(time.perf_counter())

    with run.lock():
        manifest = make_manifest(
            ["imgaudit benchmark engines"], config, {}, model, portfolio, measures=name_measures(matcher, lacking)
        )
        open_manifest(run.path, manifest)
        for _ in measure_targets(run, portfolio, model, config, matcher=matcher, engine=engine, on_step=note):
            pass
    return begun[0], time.perf_counter()


def _read_records(run: Path) -> list[dict[str, object]]:
    lines = (run / "records.jsonl").read_text(encoding="utf-8").splitlines()
    kept = [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]
    return sorted(kept, key=lambda one: str(one["path"]))


def format_engines(report: EngineReport) -> Iterator[str]:
    """Format one engine per line, and the goals."""
    yield (
        f"{report.model}, {report.images} images in chunks of {report.chunk_size}, {report.threads} threads per "
        f"process, {report.machine}"
    )
    yield "ratio: wall time over that of one process, from the first image to the last; with start: from the beginning"
    yield ""
    yield f"{'engine':14}{'processes':>10}{'seconds':>10}{'ratio':>8}{'start s':>10}{'with start':>12}   records"
    for one in report.engines:
        yield (
            f"{one.name:14}{one.processes:10}{one.seconds:10.1f}{report.ratio(one):8.2f}{one.start_seconds:10.1f}"
            f"{report.ratio(one, with_start=True):12.2f}   {'the same' if one.same else 'DIFFERENT'}"
        )
    if report.without_ray:
        yield report.without_ray
    yield from format_goals(report.goals)


PROCEDURE = report_procedure(EngineReport, measure_engines, format_engines)

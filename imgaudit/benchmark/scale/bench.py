"""What concluding, rendering and verifying take by number of images: time, and the most memory.

Runs are made up (see made_run). Every stage is a process of its own, so that its peak memory is the stage's.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from imgaudit.benchmark.harness.figures import Goal, format_goals
from imgaudit.benchmark.harness.lab_model import describe_machine
from imgaudit.benchmark.harness.procedure import OnStage, report_procedure
from imgaudit.benchmark.harness.sizes import parse_sizes
from imgaudit.benchmark.harness.table import Table
from imgaudit.benchmark.scale.made_run import RunMaker, make_measured_run
from imgaudit.benchmark.scale.stage import STAGES, StageCost, run_stage
from imgaudit.benchmark.settings import ScaleSettings
from imgaudit.exceptions import InputError
from imgaudit.io.writing import read_json, write_json
from imgaudit.runs.manifest import package_versions
from imgaudit.schema.records import Record

MEMORY_GOAL = 3 * 2**29
"""Bytes that a stage may have at most: 1.5 GiB."""

RATE_GOAL = 0.8
"""Least share of the smallest run's rate, in images per second of processor time, that the largest run keeps."""


class SizeCost(Record):
    """A run of one number of images."""

    images: int
    """Number of images in the run."""
    records: int
    """Bytes of records.jsonl."""
    stages: list[StageCost]
    """What each stage took."""


class ScaleTable(Table):
    """All sizes."""

    machine: str
    """Where it ran."""
    seed: int
    """Of the made-up runs."""
    replicas: int
    """Generated images of a rung; there are two rungs."""
    versions: dict[str, str]
    """Of the libraries."""
    results: list[SizeCost]
    """Per number of images, in rising order."""


class SizeWork(SizeCost):
    """What is finished of one number of images, kept on disk so that a killed benchmark continues."""

    replicas: int
    """Generated images of a rung."""
    seed: int
    """Of the made-up run."""


def measure_scale(settings: ScaleSettings, on_stage: OnStage) -> ScaleTable:
    """Make a run of every size and take it through all stages; each is deleted before the next.

    Raises ConfigError for sizes that are no numbers of images, and InputError for a folder with the work on others.
    """
    sizes = sorted(set(parse_sizes(settings.sizes, least=1)))
    results = [_measure_size(settings.out / f"scale-{images}", images, settings, on_stage) for images in sizes]
    return ScaleTable(
        machine=describe_machine(), seed=settings.seed, replicas=settings.replicas, versions=package_versions(),
        results=results,
    )  # fmt: skip


def _measure_size(folder: Path, images: int, settings: ScaleSettings, on_stage: OnStage) -> SizeCost:
    """Measure the stages that are not yet finished. The run is there until all of them are."""
    kept, stock = folder.with_suffix(".json"), folder.with_name(f"{folder.name}-stock")
    work = _read_work(kept, images, settings)
    if work is None:
        _delete(folder, stock)
        make_measured_run(
            folder, RunMaker(stock, settings.replicas, settings.seed), images,
            processes=settings.processes or os.cpu_count() or 1,
            on_image=lambda done, total: on_stage(f"making {total:,} images", done, total),
        )  # fmt: skip
        work = SizeWork(
            images=images, replicas=settings.replicas, seed=settings.seed,
            records=(folder / "records.jsonl").stat().st_size, stages=[],
        )  # fmt: skip
        write_json(kept, work.model_dump(mode="json"))
    for done, stage in list(enumerate(STAGES))[len(work.stages) :]:
        on_stage(f"{stage}: {images:,} images", done, len(STAGES))
        work = work.model_copy(update={"stages": [*work.stages, run_stage(folder, stage)]})
        write_json(kept, work.model_dump(mode="json"))
    _delete(folder, stock)
    return SizeCost(images=images, records=work.records, stages=work.stages)


def _read_work(path: Path, images: int, settings: ScaleSettings) -> SizeWork | None:
    """Return what is finished of this number of images, None for nothing."""
    if not path.is_file():
        return None
    work = SizeWork.model_validate(read_json(path))
    if (work.images, work.replicas, work.seed) != (images, settings.replicas, settings.seed):
        raise InputError(f"{str(path)!r} holds the work with other options; choose another --out")
    return work


def _delete(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def format_scale(table: ScaleTable) -> Iterator[str]:
    """Format one stage of one number of images per line, then the goals."""
    yield f"{table.machine}, seed {table.seed}, {2 * table.replicas} generated images for each image"
    yield ""
    yield "images/s: by processor time; peak: the most memory, with what was imported"
    yield "KiB each: the most memory without it, by number of images"
    yield ""
    yield f"{'images':>9}  {'stage':9}{'seconds':>9}{'CPU s':>9}{'images/s':>10}{'peak MiB':>10}" + (
        f"{'imports MiB':>13}{'KiB each':>9}"
    )
    for size in table.results:
        for one in size.stages:
            each = (one.peak - one.imported) / 1024 / size.images
            yield (
                f"{size.images:>9,}  {one.stage:9}{one.seconds:>9.1f}{one.cpu_seconds:>9.1f}"
                f"{size.images / one.cpu_seconds:>10.1f}{one.peak / 2**20:>10,.0f}{one.imported / 2**20:>13,.0f}"
                f"{each:>9.1f}"
            )
    yield from format_goals(list(_judge(table)))


def _judge(table: ScaleTable) -> Iterator[Goal]:
    first, last = table.results[0], table.results[-1]
    for before, after in zip(first.stages, last.stages, strict=True):
        yield Goal.exact(
            f"peak memory of {after.stage}, {last.images:,} images", f"at most {MEMORY_GOAL / 2**20:,.0f} MiB",
            f"{after.peak / 2**20:,.0f} MiB", met=after.peak <= MEMORY_GOAL,
        )  # fmt: skip
        if last is not first:
            kept = (last.images / after.cpu_seconds) / (first.images / before.cpu_seconds)
            yield Goal.exact(
                f"rate of {after.stage} at {last.images:,}, of that at {first.images:,}",
                f"at least {RATE_GOAL:.0%}", f"{kept:.0%}", met=kept >= RATE_GOAL,
            )  # fmt: skip
    problems = sum(one.problems for size in table.results for one in size.stages)
    yield Goal.exact("problems in sound runs", "0", str(problems), met=problems == 0)


PROCEDURE = report_procedure(ScaleTable, measure_scale, format_scale)

"""Collections of many sizes: what building and searching cost, beside FAISS used directly and beside plain numpy.

Vectors are synthetic: clusters of about a hundred around random directions, seeded. A query is a stored vector, changed
a little, as a copy is. Every size and every stage runs in a process of its own, so that peak memory is that stage's.
"""

import platform
import re
import shutil
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from statistics import median

import numpy as np

from imgaudit.benchmark.harness.lab_model import describe_machine
from imgaudit.benchmark.harness.procedure import OnStage
from imgaudit.benchmark.harness.sizes import parse_sizes
from imgaudit.benchmark.harness.table import Table
from imgaudit.benchmark.index.stages import TIE, run_stage
from imgaudit.benchmark.settings import IndexSettings
from imgaudit.exceptions import ConfigError
from imgaudit.index.index_types import Kind, find_kind
from imgaudit.io.writing import read_json, write_json
from imgaudit.schema.records import Record
from imgaudit.schema.text import wrap_prose
from imgaudit.statistics import bootstrap_mean, clopper_pearson

PACKAGES = ("faiss-gpu", "faiss-cpu", "numpy")


class VectorSetting(Record):
    """What is stored."""

    binary: bool
    """Bits instead of unit floats."""
    dimension: int
    """Bits or floats."""
    wanted: Kind | None = None
    """The kind of index that was asked for; None to choose by size."""

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.dimension} {'bits' if self.binary else 'floats'}"


class SizeResult(Record):
    """One size of one setting."""

    setting: VectorSetting
    """What is stored."""
    count: int
    """Vectors."""
    factory: str
    """The index that was chosen, in FAISS' words."""
    build_seconds: float
    """Reading, checking, indexing, measuring recall, hashing and writing."""
    faiss_build_seconds: float
    """The same FAISS index of the same vectors, built and written directly."""
    bytes_per_vector: float
    """On disk, with names and manifest."""
    open_seconds: float
    """Opening the collection, every byte compared with its digest."""
    build_peak: int
    """Bytes of memory at most while building, beyond what the imported libraries take."""
    search_peak: int
    """The same while searching; pages of mapped files count when they were touched."""
    faiss_search_peak: int
    """The same with FAISS used directly."""
    queries_per_second: float
    """Ours with names, median over the pairs."""
    faiss_queries_per_second: float
    """FAISS directly on the same file, median over the pairs."""
    numpy_queries_per_second: float
    """Every vector compared by numpy."""
    overhead: float
    """Median over the pairs of our time over FAISS' own, minus 1."""
    overhead_low: float
    """Bootstrap 95 %, percentiles over the pairs."""
    overhead_high: float
    """Bootstrap 95 %."""
    read_seconds: float | None = None
    """Making a match of everything that one search found, per query, median; None where it was not measured."""
    pairs: int
    """Timed pairs."""
    hits: int
    """Queries whose first match is what the exact search finds."""
    n: int
    """Queries compared with the exact search."""
    low: float
    """Of recall@1, Clopper-Pearson 95 %."""
    high: float
    """Of recall@1, Clopper-Pearson 95 %."""


class IndexReport(Table):
    """All sizes."""

    seed: int
    """Of the vectors."""
    machine: str
    """Where it ran."""
    threads: int
    """That FAISS and numpy used."""
    versions: dict[str, str]
    """Of the libraries."""
    k: int
    """Matches asked for."""
    results: list[SizeResult]
    """Each setting and size."""


def measure_index(settings: IndexSettings, on_stage: OnStage) -> IndexReport:
    """Measure every setting at every size; vectors and indexes are made in the work folder and deleted after each size.

    With a file to save to, the table is written after every size, so that an interrupted benchmark keeps what it has.
    Raises ConfigError for sizes or vectors that are none, or a table to append to that was measured otherwise.
    """
    sizes, stored = parse_sizes(settings.sizes, least=100), parse_vectors(settings.vectors, settings.kind)
    seed, threads, save = settings.seed, settings.threads, settings.save
    before = IndexReport.read(save) if settings.append and save is not None else None
    results: list[SizeResult] = []
    installed = {dist.metadata["Name"] for dist in metadata.distributions()}
    report = IndexReport(
        seed=seed, machine=f"{describe_machine()}, {platform.system()}", threads=threads, k=1, results=results,
        versions={name: metadata.version(name) for name in PACKAGES if name in installed},
    )  # fmt: skip
    if before is not None:
        _refuse_other(before, report)
    for size in sorted(sizes):
        for setting in stored:
            results.append(_load_or_measure(size, setting, settings.out, seed, threads))
            report = report.model_copy(update={"results": _merge_results(before, results)})
            if save is not None:
                write_json(save, report.model_dump(mode="json"))
            on_stage("measuring", len(results), len(sizes) * len(stored))
    return report


def _refuse_other(before: IndexReport, report: IndexReport) -> None:
    for name in ("seed", "machine", "threads", "versions", "k"):
        was, here = getattr(before, name), getattr(report, name)
        if was != here:
            raise ConfigError(f"the table was measured with {name} {was}, but here it is {here}: save another table")


def _merge_results(before: IndexReport | None, results: Sequence[SizeResult]) -> list[SizeResult]:
    """All rows, by size and in the order in which settings appear."""
    rows = {(one.count, one.setting): one for one in [*(before.results if before else ()), *results]}
    return sorted(rows.values(), key=lambda one: one.count)


def _load_or_measure(count: int, setting: VectorSetting, work: Path, seed: int, threads: int) -> SizeResult:
    """One size, from an earlier run with the same work folder if that came so far."""
    kind = f"-{setting.wanted}" if setting.wanted else ""
    name = f"{count}-{setting.dimension}-{'bits' if setting.binary else 'floats'}{kind}-seed{seed}-threads{threads}"
    folder, kept = work / name, work / f"{name}.json"
    if kept.is_file():
        return SizeResult.model_validate(read_json(kept))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    result = _measure(count, setting, folder, seed, threads)
    write_json(kept, result.model_dump(mode="json"))
    shutil.rmtree(folder)
    return result


def _measure(count: int, setting: VectorSetting, folder: Path, seed: int, threads: int) -> SizeResult:
    """One size, stage by stage; each stage is a process."""
    common = (str(folder), count, setting.dimension, setting.binary, seed, setting.wanted)
    run_stage("make", common, threads)
    built = run_stage("build", common, threads)
    direct = run_stage("build_faiss", (*common, built["factory"]), threads)
    ours = run_stage("search", common, threads)
    alone = run_stage("search_faiss", (*common, built["factory"]), threads)
    exact = run_stage("numpy", common, threads)
    both = run_stage("compare", (*common, built["factory"]), threads)
    ratios = np.array(both["ours"]) / np.array(both["faiss"]) - 1
    overhead = bootstrap_mean(ratios, resamples=9999, statistic=np.median)
    best = exact["truth"]["best"]
    hits = sum(one >= most - TIE for one, most in zip(ours["found"][: len(best)], best, strict=True))
    recall = clopper_pearson(hits, len(best))
    return SizeResult(
        setting=setting, count=count, factory=built["factory"], build_seconds=built["seconds"],
        faiss_build_seconds=direct["seconds"], bytes_per_vector=built["bytes"] / count,
        open_seconds=ours["open_seconds"], build_peak=built["peak"], search_peak=ours["peak"],
        faiss_search_peak=alone["peak"], queries_per_second=both["queries"] / median(both["ours"]),
        faiss_queries_per_second=both["queries"] / median(both["faiss"]),
        numpy_queries_per_second=exact["queries_per_second"], overhead=float(np.median(ratios)),
        overhead_low=overhead.low, overhead_high=overhead.high, pairs=len(ratios),
        read_seconds=median(both["read"]) / both["queries"], hits=hits, n=len(best), low=recall.low, high=recall.high,
    )  # fmt: skip


def parse_vectors(text: str, kind: str) -> list[VectorSetting]:
    """Read what is stored, and the kind of index. Raises ConfigError that says what was expected."""
    wanted, settings = find_kind(kind), []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([1-9]\d{0,5}) (floats|bits)\s*", part)
        if match is None or (match[2] == "bits" and int(match[1]) % 64):
            raise ConfigError(
                "--vectors must be like '64 floats' or '256 bits' (a multiple of 64), separated by commas, but got "
                f"{part!r}"
            )
        settings.append(VectorSetting(binary=match[2] == "bits", dimension=int(match[1]), wanted=wanted))
    return settings


def format_index(report: IndexReport) -> Iterator[str]:
    """Format building, then searching, then recall, one setting and size per line."""
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    yield f"{report.machine}, {report.threads} thread{'s' * (report.threads > 1)}, {versions}, seed {report.seed}"
    yield ""
    yield from wrap_prose(
        "building: seconds, and those of FAISS alone; bytes of a vector; peak MiB; open: seconds to open it"
    )
    yield f"{'':22}{'index':>19}{'seconds':>8}{'FAISS':>7}{'bytes':>8}{'MiB':>7}{'open':>7}"
    for one in report.results:
        yield (
            f"{_name(one)}{one.factory:>19}{one.build_seconds:8.1f}{one.faiss_build_seconds:7.1f}"
            f"{one.bytes_per_vector:8.1f}{one.build_peak / 2**20:7,.0f}{one.open_seconds:7.2f}"
        )
    yield ""
    yield from wrap_prose(f"searching for the nearest {report.k}, queries per second; overhead: median, 95 % interval")
    yield f"{'':22}{'ours':>8}{'FAISS':>8}{'numpy':>10}  {'overhead':24}pairs"
    for one in report.results:
        overhead = f"{one.overhead:+.1%} ({one.overhead_low:+.1%} to {one.overhead_high:+.1%})"
        yield (
            f"{_name(one)}{one.queries_per_second:8,.0f}{one.faiss_queries_per_second:8,.0f}"
            f"{one.numpy_queries_per_second:10,.1f}  {overhead:24}{one.pairs:5}"
        )
    yield ""
    yield "searching: memory, and microseconds for reading the name of a match"
    yield f"{'':22}{'peak MiB':>12}{'FAISS alone':>13}{'reading':>10}"
    for one in report.results:
        reading = "-" if one.read_seconds is None else f"{1e6 * one.read_seconds:.2f}"
        yield f"{_name(one)}{one.search_peak / 2**20:12,.0f}{one.faiss_search_peak / 2**20:13,.0f}{reading:>10}"
    yield ""
    yield "recall@1 of near copies against the exact search"
    for one in report.results:
        yield (
            f"{_name(one)}{one.hits:>8,} of {one.n:,}  {one.hits / one.n:.1%} ({one.low:.1%} to {one.high:.1%}, 95 %)"
        )


def _name(one: SizeResult) -> str:
    return f"{one.count:>9,} x {one.setting.name:10}"

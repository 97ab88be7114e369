"""`imgaudit benchmark index`: collections of many sizes, beside FAISS used directly and plain numpy."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgaudit.cli.benchmark_options import Json, Out, Quiet, Save, Seed, Table, show
from imgaudit.cli.terminal import progress
from imgaudit.exceptions import ConfigError

if TYPE_CHECKING:
    from imgaudit.benchmark.index.scale import IndexReport, VectorSetting

Sizes = Annotated[str, typer.Option(help="Numbers of vectors, separated by commas.")]
Planned = Annotated[int | None, typer.Option("--plan", min=1, help="Vectors to extrapolate to, instead of the tables.")]
Vectors = Annotated[str, typer.Option(help="What is stored, as `64 floats` or `256 bits`, separated by commas.")]
WantedKind = Annotated[str, typer.Option("--kind", help="Of the index, as for `imgaudit index build`.")]
Append = Annotated[bool, typer.Option("--append", help="Keep the other rows of the table at --save.")]
CorePrice = Annotated[
    float | None, typer.Option(min=0, help="What a core costs an hour; with --plan.", show_default=False)
]
DiskPrice = Annotated[
    float | None, typer.Option(min=0, help="What a GiB of disk costs a month; with --plan.", show_default=False)
]
Threads = Annotated[int, typer.Option(min=1, help="Of FAISS and numpy.")]


def index_command(
    sizes: Sizes = "10000,100000",
    vectors: Vectors = "64 floats,256 bits",
    kind: WantedKind = "auto",
    out: Out = Path("imgaudit-benchmark"),
    threads: Threads = 1,
    plan: Planned = None,
    price_core_hour: CorePrice = None,
    price_gib_month: DiskPrice = None,
    seed: Seed = 1,
    table: Table = None,
    save: Save = None,
    append: Append = False,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Building and searching collections by size: time, bytes, recall and memory, beside FAISS alone and numpy."""
    from imgaudit.benchmark.index.plan import Prices, plan_lines
    from imgaudit.benchmark.index.scale import IndexReport, measure_index
    from imgaudit.io.writing import read_json, write_json

    def keep(report: IndexReport) -> None:
        if save is not None:
            write_json(save, report.model_dump(mode="json"))

    if table is not None:
        report = IndexReport.model_validate(read_json(table))
        keep(report)
    else:
        settings = _settings(vectors, kind)
        before = IndexReport.model_validate(read_json(save)) if append and save is not None else None
        with progress("measuring", quiet=quiet) as on_progress:
            report = measure_index(
                _sizes(sizes), out, seed=seed, threads=threads, settings=settings, before=before,
                on_progress=on_progress, on_result=keep,
            )  # fmt: skip
    prices = Prices(price_core_hour, price_gib_month)
    show(report, index_lines(report) if plan is None else plan_lines(report, plan, prices), json_output=json_output)


def _sizes(text: str) -> list[int]:
    try:
        sizes = [int(part) for part in text.replace("_", "").split(",")]
    except ValueError as error:
        raise ConfigError(f"--sizes must be whole numbers separated by commas, but got {text!r}") from error
    if min(sizes) < 100:
        raise ConfigError(f"--sizes must be at least 100, but got {min(sizes)}")
    return sizes


def _settings(text: str, kind: str) -> "list[VectorSetting]":
    from imgaudit.benchmark.index.scale import VectorSetting
    from imgaudit.cli.index import kind_of

    settings = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([1-9]\d{0,5}) (floats|bits)\s*", part)
        if match is None or (match[2] == "bits" and int(match[1]) % 64):
            raise ConfigError(
                "--vectors must be like '64 floats' or '256 bits' (a multiple of 64), separated by commas, but got "
                f"{part!r}"
            )
        settings.append(VectorSetting(binary=match[2] == "bits", dimension=int(match[1]), wanted=kind_of(kind)))
    return settings


def index_lines(report: "IndexReport") -> Iterator[str]:
    """Building, then searching, one setting and size per line."""
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    yield f"{report.machine}, {report.threads} thread{'s' * (report.threads > 1)}, {versions}, seed {report.seed}"
    yield ""
    yield "building"
    heads = ["seconds", "FAISS", "bytes each", "peak MiB", "open, s"]
    yield f"{'':24}{'index':>20}" + "".join(f"{head:>12}" for head in heads)
    for one in report.results:
        yield (
            f"{one.count:>11,} x {one.setting.name:10}{one.factory:>20}{one.build_seconds:12.1f}"
            f"{one.faiss_build_seconds:12.1f}{one.bytes_per_vector:12.1f}{one.build_peak / 2**20:12,.0f}"
            f"{one.open_seconds:12.2f}"
        )
    yield ""
    yield f"searching for the nearest {report.k}, queries per second"
    heads = ["ours", "FAISS", "numpy", "peak MiB", "FAISS alone", "reading, us"]
    yield f"{'':24}" + "".join(f"{head:>12}" for head in heads) + "  overhead, 95 % interval"
    for one in report.results:
        reading = "-" if one.read_seconds is None else f"{1e6 * one.read_seconds:.2f}"
        yield (
            f"{one.count:>11,} x {one.setting.name:10}{one.queries_per_second:12,.0f}"
            f"{one.faiss_queries_per_second:12,.0f}{one.numpy_queries_per_second:12,.1f}"
            f"{one.search_peak / 2**20:12,.0f}{one.faiss_search_peak / 2**20:12,.0f}{reading:>12}"
            f"  {one.overhead:+.1%} ({one.overhead_low:+.1%} to {one.overhead_high:+.1%}, {one.pairs} pairs)"
        )
    yield ""
    yield "recall@1 of near copies against the exact search"
    for one in report.results:
        yield (
            f"{one.count:>11,} x {one.setting.name:10}{one.hits:>8,} of {one.n:,}  "
            f"{one.hits / one.n:.1%} ({one.low:.1%} to {one.high:.1%}, 95 %)"
        )

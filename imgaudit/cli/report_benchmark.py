"""`imgaudit benchmark report`: reports of made-up runs, rendered, weighed and opened in a browser."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgaudit.cli.benchmark_options import Json, Out, Quiet, Save, Seed, Table, show
from imgaudit.cli.terminal import progress
from imgaudit.exceptions import ConfigError

if TYPE_CHECKING:
    from imgaudit.benchmark.reports.browser import BrowserTimes
    from imgaudit.benchmark.reports.scale import ReportScale
    from imgaudit.benchmark.reports.stage import Rendering
    from imgaudit.schema.records import Skipped

Sizes = Annotated[str, typer.Option(help="Numbers of images, separated by commas.")]
Side = Annotated[int, typer.Option(min=16, max=2048, help="Side of the pictures, in pixels.")]
Processes = Annotated[
    int | None, typer.Option(min=1, help="That write thumbnails; as many as processors by default.", show_default=False)
]
Repeats = Annotated[int, typer.Option(min=1, help="Of what is timed in the browser.")]


def report_command(
    sizes: Sizes = "1,50,10000",
    side: Side = 512,
    processes: Processes = None,
    repeats: Repeats = 11,
    out: Out = Path("imgaudit-benchmark"),
    seed: Seed = 1,
    table: Table = None,
    save: Save = None,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Reports by number of images: time, bytes, memory, and how soon a browser can filter and sort."""
    from imgaudit.benchmark.reports.scale import ReportScale, measure_reports
    from imgaudit.io.writing import read_json, write_json

    if table is not None:
        report = ReportScale.model_validate(read_json(table))
    else:
        with progress("rendering", quiet=quiet) as on_progress:
            report = measure_reports(
                _sizes(sizes), out, side=side, seed=seed, processes=processes or os.cpu_count() or 1, repeats=repeats,
                on_progress=on_progress,
            )  # fmt: skip
    if save is not None:
        write_json(save, report.model_dump(mode="json"))
    show(report, report_lines(report), json_output=json_output)


def _sizes(text: str) -> list[int]:
    try:
        sizes = [int(part) for part in text.replace("_", "").split(",")]
    except ValueError as error:
        raise ConfigError(f"--sizes must be whole numbers separated by commas, but got {text!r}") from error
    if min(sizes) < 1:
        raise ConfigError(f"--sizes must be at least 1, but got {min(sizes)}")
    return sizes


def report_lines(report: "ReportScale") -> Iterator[str]:
    """Rendering, then bytes, then the browser, one number of images per line."""
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    yield f"{report.machine}, {report.processes} processes for thumbnails, {versions}, seed {report.seed}"
    yield f"pictures of {report.side} x {report.side} pixels, 24 generated for each image"
    yield ""
    yield "rendering: first, and again with the thumbnails of the first time; memory beyond imports, in MiB"
    yield _row("images", "seconds", "images/s", "CPU ms each", "again, s", "images/s", "CPU ms each", "memory")
    for one in report.results:
        times = [text for took in (one.first, one.again) for text in _rendering(one.images, took)]
        yield _row(f"{one.images:,}", *times, f"{max(one.first.peak, one.again.peak) / 2**20:,.0f}")
    yield ""
    yield "on disk, KiB"
    yield _row("images", "index.html", "data", "lists", "pages", "charts", "thumbnails", "in all")
    for one in report.results:
        disk = one.disk
        kinds = (disk.index, disk.data, disk.lists, disk.pages, disk.charts, disk.thumbnails, disk.total)
        yield _row(f"{one.images:,}", *(f"{size / 1024:,.0f}" for size in kinds))
    yield ""
    yield f"the index in a browser, opened from disk: medians in milliseconds{_measured_by(report)}"
    yield _row("images", "interactive", "filter", "sort", "requests beyond file:", "console messages")
    for one in report.results:
        yield f"{one.images:>12,}" + _browser(one.browser)


def _measured_by(report: "ReportScale") -> str:
    from imgaudit.benchmark.reports.browser import BrowserTimes

    measured = [one.browser for one in report.results if isinstance(one.browser, BrowserTimes)]
    return f" of {measured[0].repeats}, {measured[0].browser}" if measured else ""


def _rendering(images: int, took: "Rendering") -> tuple[str, str, str]:
    each = 1000 * took.cpu_seconds / images
    return f"{took.seconds:.1f}", f"{images / took.seconds:.0f}", f"{each:.1f}"


def _browser(times: "BrowserTimes | Skipped") -> str:
    from imgaudit.schema.records import Skipped

    if isinstance(times, Skipped):
        return f"  skipped: {times.skipped}"
    measured = "".join(f"{value:>14.0f}" for value in (times.interactive, times.filter, times.sort))
    return f"{measured}{times.foreign_requests:>22}{times.messages:>18}"


def _row(first: str, *cells: str) -> str:
    return f"{first:>12}" + "".join(f"{cell:>{max(14, len(cell) + 2)}}" for cell in cells)

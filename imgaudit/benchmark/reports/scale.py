"""How reports scale: rendering, size on disk, memory, and what a browser needs for the index, by number of images.

Runs are made up (see report_run). Each is rendered in a process of its own, so that its peak memory is the report's.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from imgaudit.benchmark.harness.lab_model import describe_machine
from imgaudit.benchmark.harness.procedure import OnStage, report_procedure
from imgaudit.benchmark.harness.sizes import parse_sizes
from imgaudit.benchmark.harness.table import Table
from imgaudit.benchmark.reports.browser import BrowserTimes, measure_browser
from imgaudit.benchmark.reports.run import make_run
from imgaudit.benchmark.reports.stage import Rendering, render_in_process
from imgaudit.benchmark.settings import ReportSettings
from imgaudit.schema.records import Record, Skipped
from imgaudit.schema.text import wrap_prose

PACKAGES = ("imgaudit", "jinja2", "pillow")
"""Whose versions decide how long it takes."""


class DiskUse(Record):
    """Bytes of a report by kind."""

    index: int
    """index.html."""
    data: int
    """What the index reads: data/*.js."""
    lists: int
    """Plain lists, for readers without scripts."""
    pages: int
    """One page per image."""
    charts: int
    """SVG files."""
    thumbnails: int
    """JPEG files."""
    total: int
    """Everything in the folder, with assets, findings.csv and summary.md."""


class ReportSize(Record):
    """A report of one number of images."""

    images: int
    """In the run."""
    first: Rendering
    """Into an empty folder."""
    again: Rendering
    """Once more: thumbnails of the same pictures stay."""
    disk: DiskUse
    """What it takes."""
    browser: BrowserTimes | Skipped
    """The index in a headless browser."""


class ReportScale(Table):
    """All sizes."""

    machine: str
    """Where it ran."""
    seed: int
    """Of the made-up runs."""
    side: int
    """Of the pictures, in pixels."""
    processes: int
    """That wrote thumbnails beside the one that wrote pages."""
    versions: dict[str, str]
    """Of the libraries."""
    results: list[ReportSize]
    """Per number of images."""


def measure_reports(settings: ReportSettings, on_stage: OnStage) -> ReportScale:
    """Make, render, weigh and open a run of every size; each is deleted before the next.

    Raises ConfigError for sizes that are no numbers of images.
    """
    sizes, work, side = parse_sizes(settings.sizes, least=1), settings.out, settings.side
    processes = settings.processes or os.cpu_count() or 1
    results = []
    for done, images in enumerate(sizes):
        folder = work / f"report-{images}"
        shutil.rmtree(folder, ignore_errors=True)
        make_run(folder, images, side=side, seed=settings.seed, pictures=work / f"pictures-{side}")
        first = render_in_process(folder, processes)
        again = render_in_process(folder, processes)
        index = folder / "report" / "index.html"
        results.append(
            ReportSize(
                images=images, first=first, again=again, disk=disk_use(index.parent),
                browser=measure_browser(index, settings.repeats),
            )
        )  # fmt: skip
        shutil.rmtree(folder)
        on_stage("rendering", done + 1, len(sizes))
    return ReportScale(
        machine=describe_machine(), seed=settings.seed, side=side, processes=processes, results=results,
        versions={name: metadata.version(name) for name in PACKAGES},
    )  # fmt: skip


def disk_use(report: Path) -> DiskUse:
    """Weigh a report by kind of file."""
    sizes = {path.relative_to(report): path.stat().st_size for path in report.rglob("*") if path.is_file()}

    def together(*patterns: str) -> int:
        return sum(size for path, size in sizes.items() if any(path.match(pattern) for pattern in patterns))

    index, lists = together("index.html"), together("list-*.html")
    return DiskUse(
        index=index, lists=lists, pages=together("*.html") - index - lists, data=together("data/*.js"),
        charts=together("charts/*.svg"), thumbnails=together("thumbs/*.jpg"), total=sum(sizes.values()),
    )  # fmt: skip


def format_reports(report: ReportScale) -> Iterator[str]:
    """Format rendering, then bytes, then the browser, one number of images per line, of at most 80 columns."""
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    yield from wrap_prose(
        f"{report.machine}, {report.processes} processes for thumbnails, {versions}, seed {report.seed}"
    )
    yield f"pictures of {report.side} x {report.side} pixels, 24 generated for each image"
    yield ""
    yield from wrap_prose(
        "rendering: first, and again with the thumbnails of the first time; memory beyond imports, in MiB"
    )
    heads = ["images", "seconds", "images/s", "CPU ms each", "again, s", "images/s", "CPU ms each", "memory"]
    yield _format_row(heads, heads)
    for one in report.results:
        times = [text for took in (one.first, one.again) for text in _format_rendering(one.images, took)]
        peak = f"{max(one.first.peak, one.again.peak) / 2**20:,.0f}"
        yield _format_row(heads, [f"{one.images:,}", *times, peak])
    yield ""
    yield "on disk, KiB"
    heads = ["images", "index.html", "data", "lists", "pages", "charts", "thumbnails", "in all"]
    yield _format_row(heads, heads)
    for one in report.results:
        disk = one.disk
        kinds = (disk.index, disk.data, disk.lists, disk.pages, disk.charts, disk.thumbnails, disk.total)
        yield _format_row(heads, [f"{one.images:,}", *(f"{size / 1024:,.0f}" for size in kinds)])
    yield ""
    measured = [one.browser for one in report.results if isinstance(one.browser, BrowserTimes)]
    browser = f" of {measured[0].repeats}, {measured[0].browser}" if measured else ""
    yield from wrap_prose(f"the index in a browser, opened from disk: medians in milliseconds{browser}")
    heads = ["images", "interactive", "filter", "sort", "requests beyond file:", "console messages"]
    yield _format_row(heads, heads)
    for one in report.results:
        if isinstance(one.browser, Skipped):
            yield from wrap_prose(f"{one.images:>8,}  skipped: {one.browser.skipped}")
        else:
            yield _format_row(heads, [f"{one.images:,}", *_format_browser(one.browser)])


def _format_rendering(images: int, took: Rendering) -> tuple[str, str, str]:
    each = 1000 * took.cpu_seconds / images
    return f"{took.seconds:.1f}", f"{images / took.seconds:.0f}", f"{each:.1f}"


def _format_browser(times: BrowserTimes) -> list[str]:
    measured = [f"{value:.0f}" for value in (times.interactive, times.filter, times.sort)]
    return [*measured, str(times.foreign_requests), str(times.messages)]


def _format_row(heads: Sequence[str], cells: Sequence[str]) -> str:
    return f"{cells[0]:>8}" + "".join(
        f"{cell:>{max(9, len(head) + 1)}}" for head, cell in zip(heads[1:], cells[1:], strict=True)
    )


PROCEDURE = report_procedure(ReportScale, measure_reports, format_reports)

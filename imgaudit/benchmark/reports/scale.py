"""How reports scale: rendering, size on disk, memory, and what a browser needs for the index, by number of images.

Runs are made up (see report_run). Each is rendered in a process of its own, so that its peak memory is the report's.
"""

import shutil
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

from imgaudit.benchmark.harness.lab_model import machine
from imgaudit.benchmark.reports.browser import BrowserTimes, measure_browser
from imgaudit.benchmark.reports.run import make_run
from imgaudit.benchmark.reports.stage import Rendering, render_in_process
from imgaudit.schema.records import Record, Skipped

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


class ReportScale(Record):
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


def measure_reports(
    sizes: Sequence[int],
    work: Path,
    *,
    side: int = 512,
    seed: int = 1,
    processes: int = 2,
    repeats: int = 11,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> ReportScale:
    """Make, render, weigh and open a run of every size; each is deleted before the next.

    repeats:  of what is timed in the browser; the median counts
    """
    results = []
    for done, images in enumerate(sizes):
        folder = work / f"report-{images}"
        shutil.rmtree(folder, ignore_errors=True)
        make_run(folder, images, side=side, seed=seed, pictures=work / f"pictures-{side}")
        first = render_in_process(folder, processes)
        again = render_in_process(folder, processes)
        index = folder / "report" / "index.html"
        results.append(
            ReportSize(
                images=images, first=first, again=again, disk=disk_use(index.parent),
                browser=measure_browser(index, repeats),
            )
        )  # fmt: skip
        shutil.rmtree(folder)
        on_progress(done + 1, len(sizes))
    return ReportScale(
        machine=machine(), seed=seed, side=side, processes=processes, results=results,
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

"""A large folder: how long the first look takes, how much memory it needs, and how soon a second audit begins."""

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from imgaudit.benchmark.harness.figures import Goal, format_goals
from imgaudit.benchmark.harness.lab_model import describe_machine
from imgaudit.benchmark.harness.procedure import OnStage, report_procedure
from imgaudit.benchmark.harness.table import Table
from imgaudit.benchmark.settings import ScreeningSettings
from imgaudit.exceptions import ConfigError
from imgaudit.io.captions import CaptionSource
from imgaudit.io.portfolio import read_portfolio
from imgaudit.io.screening import ScreeningCache
from imgaudit.runs.works import group_targets
from imgaudit.schema.protocol import Framing
from imgaudit.schema.records import Record

PER_FOLDER = 1000
"""Files of one subfolder."""

ALLOWED_BYTES = 20_000
"""Memory that one more image may cost: thumbnail, facts, path, texts and short vector, some of them twice."""


class Screening(Record):
    """One look at a folder, in a process of its own."""

    name: str
    """Which look."""
    images: int
    """Files in the folder."""
    readable: int
    """Files that would be audited."""
    groups: int
    """Groups of near-duplicates found among them."""
    list_and_hash_seconds: float
    """Listing, hashing, decoding, thumbnails; or remembering them."""
    group_seconds: float
    """Near-duplicates."""
    peak_mib: float
    """Most memory that the process held, above what it began with."""


class ScreeningReport(Table):
    """Several looks."""

    long_lists = ("screenings", "targets")

    hardware: str
    """Machine."""
    side: int
    """Pixels of a side of the images."""
    screenings: list[Screening]
    """In order."""
    targets: list[Goal]
    """Goals and outcomes."""


def make_pictures(folder: Path, count: int, side: int, seed: int, advance: Callable[[int, int], None]) -> None:
    """Smooth random JPEGs, one in a hundred of them a near-copy of the one before; those that are there are kept."""
    for number in range(count):
        path = folder / f"{number // PER_FOLDER:03d}" / f"picture-{number:06d}.jpg"
        if path.is_file():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        near_copy = number % 100 == 99
        generator = np.random.default_rng((seed, number - 1 if near_copy else number))
        coarse = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
        image.save(path, quality=60 if near_copy else 85)
        if number % 500 == 0:
            advance(number, count)
    advance(count, count)


class _Peak:
    """The most memory that the process has held since, above what it began with; looked at every few milliseconds.

    The system's own high-water mark would count what importing libraries took for a moment.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._start = self._most = self._process.memory_info().rss
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(0.005):
            self._most = max(self._most, self._process.memory_info().rss)

    def mib(self) -> float:
        """Stop watching."""
        self._ended.set()
        self._thread.join()
        return float(self._most - self._start) / 2**20


def _look(name: str, folder: Path, cache_path: Path) -> Screening:
    peak, started = _Peak(), time.perf_counter()
    cache = ScreeningCache(cache_path)
    portfolio = read_portfolio(folder, CaptionSource(folder), framing=Framing.CROP, cache=cache)
    cache.close()
    read = time.perf_counter()
    groups = group_targets(portfolio)
    ended = time.perf_counter()
    return Screening(
        name=name,
        images=portfolio.count,
        readable=len(portfolio.targets),
        groups=len(groups),
        list_and_hash_seconds=read - started,
        group_seconds=ended - read,
        peak_mib=peak.mib(),
    )


def measure_screening(settings: ScreeningSettings, on_stage: OnStage) -> ScreeningReport:
    """Screen folders of growing size, each twice, each time in a process of its own.

    Raises ConfigError for a folder of fewer than 100 images.
    """
    if min(settings.images) < 100:
        raise ConfigError(f"--images must be at least 100, but got {min(settings.images)}")
    work, side = settings.out / "screening", settings.side
    screenings = []
    context = multiprocessing.get_context("spawn")
    for count in sorted(settings.images):
        folder, cache = work / f"pictures-{count}-{side}", work / f"cache-{count}-{side}.sqlite"
        make_pictures(folder, count, side, settings.seed, partial(on_stage, "making pictures"))
        for path in work.glob(f"{cache.name}*"):
            path.unlink()
        for name in ("first look", "second look"):
            with context.Pool(1) as pool:
                screenings.append(pool.apply(_look, (name, folder, cache)))
    small, first, last = screenings[0], screenings[-2], screenings[-1]
    more = first.images - small.images
    per_image = (first.peak_mib - (small.peak_mib if more else 0)) * 2**20 / (more or first.images)
    seconds = last.list_and_hash_seconds + last.group_seconds
    return ScreeningReport(
        hardware=describe_machine(),
        side=side,
        screenings=screenings,
        targets=[
            Goal.exact("memory for each further image", f"<= {ALLOWED_BYTES:,} bytes", f"{per_image:,.0f} bytes",
                       met=per_image <= ALLOWED_BYTES),
            Goal.exact(f"a second audit over {last.images:,} images begins within", "<= 30 s, timed once",
                       f"{seconds:.1f} s", met=seconds <= 30),
            Goal.exact("every file is accounted for", f"{last.images}", f"{last.readable}",
                       met=last.images == last.readable == first.readable),
        ],
    )  # fmt: skip


def format_screening(report: ScreeningReport) -> Iterator[str]:
    """Format one look per line, and goals."""
    yield f"JPEGs of {report.side} x {report.side} pixels; {report.hardware}"
    yield ""
    yield f"{'':13}{'images':>8}{'readable':>10}{'groups':>8}{'read, s':>9}{'group, s':>10}{'peak memory, MiB':>18}"
    for one in report.screenings:
        yield (
            f"{one.name:13}{one.images:8}{one.readable:10}{one.groups:8}{one.list_and_hash_seconds:9.1f}"
            f"{one.group_seconds:10.1f}{one.peak_mib:18.0f}"
        )
    yield from format_goals(report.targets)


PROCEDURE = report_procedure(ScreeningReport, measure_screening, format_screening)

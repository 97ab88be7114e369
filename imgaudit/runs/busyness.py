"""How busy a machine is with other programs while something is timed on it."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil

LEAST_SHARE = 0.7
"""Share of the time in which a program that never waits gets a processor, below which others keep it from running."""


MOST_BY_OTHERS = 0.1
"""Share of all processors' time that other programs may take on a quiet machine: what a system does for itself."""

IDLE = {"idle", "iowait", "guest", "guest_nice"}
"""Times of a processor in which no program runs, and those that are counted under another name too."""


@dataclass
class Busyness:
    """What other programs leave of a machine."""

    load: float | None = None
    """Programs that wanted a processor, on average over the last minute before; None where the system does not say."""
    processors: int = field(default_factory=lambda: os.cpu_count() or 1)
    """Processors of the machine."""
    share: float = 1.0
    """Share of the time in which this program had a processor, at most 1; 1 where its work is done elsewhere."""
    others: float = 0.0
    """Processors that other programs took meanwhile, on average."""

    @property
    def reasons(self) -> list[str]:
        """The signs that the machine is busy, in words; none on a quiet machine."""
        found = []
        if self.load is not None and self.load > self.processors:
            processors = "1 processor" if self.processors == 1 else f"{self.processors} processors"
            found.append(f"{self.load:.1f} programs on average wanted its {processors}")
        if self.share < LEAST_SHARE:
            found.append(f"this program had a processor for {self.share:.0%} of the time that was measured")
        if self.others > MOST_BY_OTHERS * self.processors:
            taken = "its processor" if self.processors == 1 else f"its {self.processors} processors"
            found.append(f"others took {self.others:.1f} of {taken} meanwhile")
        return found


@contextmanager
def observing(*, on_processor: bool) -> Iterator[Busyness]:
    """Observe the machine while something is timed; the share is known when the block has ended.

    on_processor:  whether the work is done by this program's own threads, and not by a GPU
    """
    seen = Busyness(measure_load())
    began, used, all_used = time.perf_counter(), time.process_time(), _measure_used()
    yield seen
    passed, own = time.perf_counter() - began, time.process_time() - used
    if passed > 0:
        if on_processor:
            seen.share = min(1.0, own / passed)
        seen.others = max(0.0, (_measure_used() - all_used - own) / passed)


def _measure_used() -> float:
    """Return the seconds that all processors have spent on programs since the machine started, of all together."""
    times = psutil.cpu_times()._asdict()
    return float(sum(seconds for name, seconds in times.items() if name not in IDLE))


def measure_load() -> float | None:
    """Return how many programs wanted a processor over the last minute; None where the system does not say."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None

"""What the differences between pictures are, and the tolerance of a replay that follows from those of the first lab."""

from collections.abc import Iterator, Sequence

import numpy as np

from imgaudit.benchmark.harness.procedure import record_procedure
from imgaudit.benchmark.replays.measuring import (
    ANOTHER_SEED,
    PictureDifference,
    ReplayTable,
    measure_replays,
)
from imgaudit.runs.replay.tolerance import OTHER_PRECISION, SAME_PRECISION
from imgaudit.schema.records import Record
from imgaudit.schema.replay import ReplayTolerance
from imgaudit.schema.text import wrap_prose


class ChangeReport(Record):
    """All pictures of one lab under one change."""

    lab: str
    """The lab."""
    change: str
    """What was changed."""
    n: int
    """Pictures."""
    largest: float
    """Largest difference of a colour value in any picture; of another seed, the smallest of all pictures' largest."""
    mean: float
    """Largest mean difference of a picture; of another seed, the smallest."""
    median: float
    """Median over the pictures of the mean difference."""
    similarity: float
    """Largest difference in similarity; of another seed, the smallest."""
    distance: float
    """Largest difference in distance; of another seed, the smallest."""
    beyond: int
    """Pictures that a replay in the same precision would call different."""
    beyond_wider: int
    """Pictures that a replay in another precision would call different."""


class ReplayReport(Record):
    """Every lab and change."""

    seed: int
    """Run seed."""
    hardware: str
    """Machine."""
    torch: str
    """Version."""
    changes: list[ChangeReport]
    """In the order in which they were measured."""


def report_replays(table: ReplayTable) -> ReplayReport:
    """Sum up every lab and change."""
    groups: dict[tuple[str, str], list[PictureDifference]] = {}
    for one in table.differences:
        groups.setdefault((one.lab, one.change), []).append(one)
    return ReplayReport(
        seed=table.seed, hardware=table.hardware, torch=table.torch,
        changes=[_sum_up(lab, change, rows) for (lab, change), rows in groups.items()],
    )  # fmt: skip


def is_beyond(one: PictureDifference, tolerance: ReplayTolerance) -> bool:
    """Say whether a replay calls a picture different."""
    return (
        one.largest > tolerance.largest
        or one.mean > tolerance.mean
        or one.similarity > tolerance.similarity
        or one.distance > tolerance.distance
    )


def _sum_up(lab: str, change: str, rows: Sequence[PictureDifference]) -> ChangeReport:
    most = min if change == ANOTHER_SEED else max
    return ChangeReport(
        lab=lab, change=change, n=len(rows), largest=most(one.largest for one in rows),
        mean=most(one.mean for one in rows), median=float(np.median([one.mean for one in rows])),
        similarity=most(one.similarity for one in rows), distance=most(one.distance for one in rows),
        beyond=sum(is_beyond(one, SAME_PRECISION) for one in rows),
        beyond_wider=sum(is_beyond(one, OTHER_PRECISION) for one in rows),
    )  # fmt: skip


def format_replays(report: ReplayReport) -> Iterator[str]:
    """Format one change per line, lab by lab."""
    yield from wrap_prose(
        f"{report.hardware}, torch {report.torch}, seed {report.seed}; against batch 16, 1 thread, float32, processor"
    )
    yield from wrap_prose(
        "levels of 0 to 255: largest of all values and pictures, largest mean of a picture, median of these means; "
        f"similarity and distance: largest difference. {ANOTHER_SEED}: the smallest of each, not the largest"
    )
    yield from wrap_prose(
        "differs: pictures that a replay in the same precision calls different; wider: in another precision"
    )
    lab = ""
    for one in report.changes:
        if one.lab != lab:
            lab = one.lab
            yield ""
            columns = (
                f"{'largest':>8}{'mean':>8}{'median':>8}{'similarity':>11}{'distance':>9}{'differs':>8}{'wider':>6}"
            )
            yield f"{lab:19}{'n':>3}{columns}"
        yield (
            f"{one.change:19}{one.n:3}{one.largest:8.0f}{one.mean:8.3f}{one.median:8.3f}{one.similarity:11.5f}"
            f"{one.distance:9.5f}{one.beyond:8}{one.beyond_wider:6}"
        )
    yield ""
    for name, tolerance in (("same precision", SAME_PRECISION), ("another precision", OTHER_PRECISION)):
        yield from wrap_prose(
            f"tolerance, {name}: {tolerance.largest:g} levels, {tolerance.mean:g} on average, similarity "
            f"{tolerance.similarity:g}, distance {tolerance.distance:g}"
        )


PROCEDURE = record_procedure(ReplayTable, measure_replays, report_replays, format_replays)

"""From the largest size that was measured to a web crawl: shards, bytes, memory and time, in proportion."""

import math
from collections.abc import Iterator

from imgaudit.benchmark.index_scale import IndexReport, SizeResult
from imgaudit.index.building import SHARD_BYTES
from imgaudit.index.kinds import row_bytes
from imgaudit.records import Record


class Plan(Record):
    """What a collection of one kind of vectors would take if every shard were like the largest one measured."""

    measured: SizeResult
    """The largest size."""
    count: int
    """Vectors of the plan."""
    shards: int
    """As many as hold 2 GiB of vectors each."""
    disk: float
    """Bytes."""
    memory: float
    """Bytes that a search touches, all shards together: what must stay in memory for the speed below."""
    build_hours: float
    """Hours of one core; shards are built apart from each other, so that cores divide it."""
    query_seconds: float
    """Seconds of one core for a query of all shards, asked in batches."""


def make_plan(measured: SizeResult, count: int) -> Plan:
    """Extrapolate one measured size.

    Shards know nothing of each other, so everything grows in proportion to their number, as if all were of the measured
    size.
    """
    setting = measured.setting
    in_shard = SHARD_BYTES // row_bytes(setting.dimension, binary=setting.binary)
    times = count / measured.count
    return Plan(
        measured=measured, count=count, shards=math.ceil(count / in_shard), disk=measured.bytes_per_vector * count,
        memory=measured.search_peak * times, build_hours=measured.build_seconds * times / 3600,
        query_seconds=times / measured.queries_per_second,
    )  # fmt: skip


def make_plans(report: IndexReport, count: int) -> list[Plan]:
    """A plan for the largest size of every setting."""
    largest: dict[str, SizeResult] = {}
    for one in report.results:
        if one.setting.name not in largest or one.count > largest[one.setting.name].count:
            largest[one.setting.name] = one
    return [make_plan(one, count) for one in largest.values()]


def plan_lines(report: IndexReport, count: int) -> Iterator[str]:
    """One setting per line."""
    yield f"{count:,} vectors, in proportion to the largest size measured"
    heads = ("measured at", "shards", "disk, GiB", "memory, GiB", "build, core h", "query, core s")
    yield f"{'':14}" + "".join(f"{head:>15}" for head in heads)
    for plan in make_plans(report, count):
        yield (
            f"{plan.measured.setting.name:14}{plan.measured.count:15,}{plan.shards:15,}{plan.disk / 2**30:15,.0f}"
            f"{plan.memory / 2**30:15,.0f}{plan.build_hours:15,.0f}{plan.query_seconds:15,.2f}"
        )

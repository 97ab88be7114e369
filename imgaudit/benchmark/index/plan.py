"""From the largest size that was measured to a web crawl: shards, bytes, memory and time, in proportion."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from imgaudit.benchmark.harness.procedure import Procedure
from imgaudit.benchmark.index.scale import IndexReport, SizeResult, format_index, measure_index
from imgaudit.benchmark.settings import IndexSettings
from imgaudit.index.building import SHARD_BYTES
from imgaudit.index.index_types import count_row_bytes
from imgaudit.schema.records import Record

PRICED = 100_000
"""Queries whose cost is told."""


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
    in_shard = SHARD_BYTES // count_row_bytes(setting.dimension, binary=setting.binary)
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


@dataclass(frozen=True)
class Prices:
    """What somebody pays, in any currency; None where they do not say."""

    core_hour: float | None = None
    """For one core, one hour."""
    gib_month: float | None = None
    """For a GiB of disk, one month."""

    def of(self, plan: Plan) -> dict[str, float]:
        """By heading, what can be told of a plan from the prices that there are."""
        costs = {}
        if self.core_hour is not None:
            costs["build, cost"] = plan.build_hours * self.core_hour
            costs[f"{PRICED:,} queries"] = PRICED * plan.query_seconds / 3600 * self.core_hour
        if self.gib_month is not None:
            costs["disk, a month"] = plan.disk / 2**30 * self.gib_month
        return costs


def format_plan(report: IndexReport, count: int, prices: Prices | None = None) -> Iterator[str]:
    """Format one setting per line, then their costs where prices are given."""
    prices = prices or Prices()
    plans = make_plans(report, count)
    yield f"{count:,} vectors, in proportion to the largest size measured"
    yield "disk and memory in GiB; build: hours of a core; query: seconds of a core"
    yield f"{'':11}{'index':>19}{'measured at':>12}{'shards':>8}{'disk':>7}{'memory':>8}{'build':>7}{'query':>7}"
    for plan in plans:
        yield (
            f"{plan.measured.setting.name:11}{plan.measured.factory:>19}{plan.measured.count:12,}{plan.shards:8,}"
            f"{plan.disk / 2**30:7,.0f}{plan.memory / 2**30:8,.0f}{plan.build_hours:7,.0f}{plan.query_seconds:7,.2f}"
        )
    costs = [prices.of(plan) for plan in plans]
    if not any(costs):
        return
    yield ""
    given = {"core hour": prices.core_hour, "GiB and month": prices.gib_month}
    yield "cost at " + " and ".join(f"{price:g} a {name}" for name, price in given.items() if price is not None)
    yield f"{'':14}" + "".join(f"{head:>18}" for head in costs[0])
    for plan, cost in zip(plans, costs, strict=True):
        yield f"{plan.measured.setting.name:14}" + "".join(f"{value:18,.2f}" for value in cost.values())


def _format(report: IndexReport, settings: IndexSettings) -> Iterator[str]:
    if settings.plan is None:
        return format_index(report)
    return format_plan(report, settings.plan, Prices(settings.price_core_hour, settings.price_gib_month))


PROCEDURE = Procedure(measure_index, IndexReport.read, IndexReport.write, lambda report, _: report, _format)

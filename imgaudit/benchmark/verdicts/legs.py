"""What an audit finds of whole copies and of layouts: by pixels, by the copy descriptor, and by either.

All three decide the same measurements. Every figure has its n and a 95 % interval. "Planted, not reproduced" and "seen
once" are rows of their own: neither is a null, and neither counts as a failure or a success.
"""

from collections.abc import Iterator, Sequence

from pydantic import Field

from imgaudit.benchmark.harness.figures import (
    Goal,
    MeasuredRate,
    format_goals,
    format_rates,
    mean,
    measure_rate,
)
from imgaudit.benchmark.harness.lab_model import describe_hardware
from imgaudit.benchmark.harness.lab_work import LabWork
from imgaudit.benchmark.harness.procedure import OnStage, record_procedure
from imgaudit.benchmark.harness.table import LabRecord, Table
from imgaudit.benchmark.layout_settings import LegSettings
from imgaudit.benchmark.verdicts.legs_audit import LegAudit, LegRow, Legs, Truth, audit_lab
from imgaudit.schema.findings import Verdict
from imgaudit.schema.records import Record
from imgaudit.schema.text import wrap_prose
from imgaudit.statistics import Interval, mean_interval

WHOLE_FOUND = (Verdict.REPLICATED, Verdict.REPLICATED_BY_INVERSION)
CALLED = (*WHOLE_FOUND, Verdict.PARTIAL)

LOCATED = 0.7
"""Intersection over union from which on a region counts as located."""

NAMES = {
    Legs.PIXELS: "pixels alone", Legs.DESCRIPTOR: "copy descriptor alone", Legs.EITHER: "pixels or copy descriptor",
}  # fmt: skip


class LegTable(LabRecord, Table):
    """What was audited."""

    long_lists = ("rows",)

    level: float
    """Level of p-values and thresholds."""
    descriptor: str
    """Name and origin of the copy descriptor; empty where the machine had none."""
    controls: int
    """Controls that count in p-values."""
    protocol_hash: str
    """Protocol of controls and targets."""
    rows: list[LegRow]
    """Every audited image."""


class LegReport(Record):
    """All figures of `imgaudit benchmark legs`."""

    table: LegTable
    """What they are computed from."""
    rates: dict[Legs, list[MeasuredRate]]
    """Proportions by each choice of legs."""
    rendering: dict[str, float]
    """Mean similarity of images with how the autoencoder renders them, by measure: what a perfect copy can reach."""
    time_ratio: Interval | None = Field(None)
    """Time of an audit with the copy descriptor over the same audit without, with its 95 % interval over images."""
    timed: int
    """Images that the ratio is of."""
    targets: list[Goal]
    """Goals and outcomes, of the choice that has both."""


def measure_rates(rows: Sequence[LegRow], legs: Legs) -> list[MeasuredRate]:
    """Count what is concluded of each kind of image."""

    def count(name: str, truth: Truth, verdicts: Sequence[Verdict]) -> MeasuredRate:
        own = [row for row in rows if row.truth is truth]
        return measure_rate(name, truth.value, [row.decided[legs].verdict in verdicts for row in own])

    rates = [
        count("called replicated", Truth.WHOLE, WHOLE_FOUND), count("called partial", Truth.WHOLE, [Verdict.PARTIAL]),
        count("called partial", Truth.LAYOUT, [Verdict.PARTIAL]), count("called replicated", Truth.LAYOUT, WHOLE_FOUND),
    ]  # fmt: skip
    overlaps = [row.decided[legs].overlap for row in rows if row.truth is Truth.LAYOUT]
    known = [one for one in overlaps if one is not None]
    rates.append(
        measure_rate(f"region, IoU >= {LOCATED:g}", "layouts called partial", [one >= LOCATED for one in known])
    )
    others = (Truth.PLANTED, Truth.SEEN_ONCE, Truth.HELD_OUT, Truth.UNSEEN_LAYOUT, Truth.ALIKE)
    return rates + [count("called anything", truth, CALLED) for truth in others]


def report_legs(table: LegTable) -> LegReport:
    """Compute all figures of a table; no model is needed."""
    names = sorted({name for row in table.rows for name in row.rendering})
    timed = [row for row in table.rows if row.descriptor_seconds is not None]
    ratios = [row.seconds / max(1e-9, row.seconds - (row.descriptor_seconds or 0.0)) for row in timed]
    rates = {legs: measure_rates(table.rows, legs) for legs in Legs}
    ratio = mean_interval(ratios) if len(ratios) > 1 else None
    return LegReport(
        table=table, rates=rates, time_ratio=ratio, timed=len(timed),
        rendering={name: mean([row.rendering[name] for row in table.rows if name in row.rendering]) for name in names},
        targets=judge_goals(rates[Legs.EITHER], ratio, table.level, len(timed)),
    )  # fmt: skip


def judge_goals(rates: Sequence[MeasuredRate], ratio: Interval | None, level: float, timed: int) -> list[Goal]:
    """Judge the figures that were aimed at, of the choice that has pixels and the copy descriptor."""
    by_name = {(one.name, one.group): one for one in rates}
    located = by_name[f"region, IoU >= {LOCATED:g}", "layouts called partial"]
    goals = [
        Goal.at_least("whole copies called replicated", by_name["called replicated", Truth.WHOLE.value], 0.9),
        Goal.at_least("layouts called partial", by_name["called partial", Truth.LAYOUT.value], 0.8),
        Goal.at_least(f"regions of layouts with IoU >= {LOCATED:g}", located, 0.8),
        Goal.within_level("held out, called anything", by_name["called anything", Truth.HELD_OUT.value], level),
        Goal.within_level(
            "held out in layouts, called anything", by_name["called anything", Truth.UNSEEN_LAYOUT.value], level
        ),
        Goal.within_level("alike, called anything", by_name["called anything", Truth.ALIKE.value], level),
    ]
    name = "time of an audit over that without the copy descriptor"
    if ratio is None:
        return [*goals, Goal.unmeasured(name, "upper bound <= 1.15", "no copy descriptor on this machine")]
    got = f"{ratio.low:.3f} to {ratio.high:.3f} ({timed} images)"
    return [*goals, Goal.at_most(name, ratio, 1.15, got=got)]


def format_legs(report: LegReport) -> Iterator[str]:
    """Format rates by each choice of legs, the ceiling, the time and the goals."""
    table = report.table
    yield from wrap_prose(
        f"lab {table.lab}, seed {table.seed}, {table.controls} controls that count, level {table.level:g}, protocol "
        f"{table.protocol_hash[:16]}"
    )
    yield from wrap_prose(f"copy descriptor: {table.descriptor or 'none on this machine'}")
    yield from wrap_prose(
        f"{mean([row.network_evaluations for row in table.rows]):,.0f} network evaluations and "
        f"{mean([row.seconds for row in table.rows]):.1f} s per image on {table.hardware}"
    )
    shown = ", ".join(f"{name} {value:.3f}" for name, value in report.rendering.items())
    yield from wrap_prose(f"mean similarity of an image with its own rendering by the autoencoder: {shown}")
    for legs, rates in report.rates.items():
        yield ""
        yield from format_rates(NAMES[legs], rates)
    if report.time_ratio is not None:
        yield ""
        yield from wrap_prose(
            f"time with the copy descriptor over time without: {report.time_ratio.low:.3f} to "
            f"{report.time_ratio.high:.3f} (95 % interval of the mean over {report.timed} images)"
        )
    yield from format_goals(report.targets)


def _measure(settings: LegSettings, on_stage: OnStage) -> LegTable:
    work = LabWork.open(settings, on_stage)
    audit: LegAudit = audit_lab(work, settings)
    return LegTable(
        lab=work.lab.description.recipe.name, seed=settings.seed, hardware=describe_hardware(work.denoiser),
        level=0.05, descriptor=audit.descriptor, controls=audit.controls, protocol_hash=audit.protocol_hash,
        rows=audit.rows,
    )  # fmt: skip


PROCEDURE = record_procedure(LegTable, _measure, report_legs, format_legs)

"""How well scores and verdicts separate memorised images from held-out ones, on a lab model.

Every figure has its n and a 95 % interval. "Planted, not reproduced" and "seen once" are rows of their own: neither is
a null, and neither counts as a failure or a success of detection.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

from pydantic import Field

from imgaudit.benchmark.harness.cases import CaseCounts, Group
from imgaudit.benchmark.harness.figures import (
    Goal,
    MeasuredRate,
    Separation,
    format_goals,
    format_rates,
    format_separations,
    mean,
    measure_rate,
    measure_separation,
)
from imgaudit.benchmark.harness.lab_work import LabWork
from imgaudit.benchmark.harness.procedure import OnStage, Procedure
from imgaudit.benchmark.harness.score_table import ScoreRow, ScoreTable
from imgaudit.benchmark.harness.scoring import measure_scores
from imgaudit.benchmark.settings import VerdictBenchmarkSettings
from imgaudit.benchmark.verdicts.decided_again import decide_again
from imgaudit.schema.baseline import BASELINE_WORDING, Baseline
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.findings import Verdict
from imgaudit.schema.records import Record, Rung
from imgaudit.schema.text import wrap_prose

FOUND = (Verdict.REPLICATED, Verdict.REPLICATED_BY_INVERSION)


class FalseCall(Record):
    """An image that was not trained on and is called replicated nevertheless."""

    sha256: str
    """First 16 hexadecimal digits of the file's."""
    group: str
    """Held out, or planted in the sibling only."""
    verdict: Verdict
    """What the audit concluded."""
    nearest_similarity: float
    """Pixel correlation with the nearest image that was trained on; a high one is a near copy the lab overlooked."""


class DetectionReport(Record):
    """All tables of `imgaudit benchmark detection`."""

    lab: str
    """Lab model."""
    protocol_hash: str
    """Protocol of bank and benchmark."""
    baseline: Baseline = Field("null", exclude_if=lambda value: value == "null")
    """What errors are compared with, named where it is not the null condition."""
    seed: int
    """Run seed."""
    controls: int
    """Controls in the bank, none of them among the images measured."""
    level: float
    """Level of p-values, thresholds and false discovery."""
    hardware: str
    """Machine, device and threads."""
    network_evaluations_per_image: int
    """Mean."""
    seconds_per_image: float
    """Mean."""
    separations: list[Separation]
    """Areas under ROC curves."""
    rates: list[MeasuredRate]
    """Proportions per group."""
    by_repeats: list[MeasuredRate]
    """Proportions per repeat count."""
    false_calls: list[FalseCall]
    """Images that were not trained on and are called replicated."""
    targets: list[Goal]
    """Goals and outcomes."""


UNDER_CAPTION = "score under the caption"


def _best(rung: Rung) -> Callable[[ScoreRow], float | None]:
    def score(row: ScoreRow) -> float | None:
        return row.rungs[rung].best if rung in row.rungs else None

    return score


SCORES: Mapping[str, Callable[[ScoreRow], float | None]] = {
    "score (log ratio, adjusted for complexity)": lambda row: row.score,
    "log ratio, unadjusted": lambda row: row.log_ratio,
    UNDER_CAPTION: lambda row: row.caption_score,
    "conditional error alone (negative)": lambda row: -row.conditional,
    "best similarity, embedding": _best(Rung.EMBEDDING),
    "best similarity, caption": _best(Rung.CAPTION),
}
"""Scores by name; higher = more memorised, None where an image has no such score."""


def _at_most(value: float | None, level: float) -> bool:
    return value is not None and value <= level


def group_rates(rows: Sequence[ScoreRow], group: str, level: float) -> list[MeasuredRate]:
    """The proportions that are reported for one group of images."""
    levels = sorted({0.01, level})
    rates = [measure_rate(f"score p <= {one:g}", group, [_at_most(row.p_value, one) for row in rows]) for one in levels]
    if captioned := [row for row in rows if row.caption_log_ratio is not None]:
        flags = [_at_most(row.caption_p_value, level) for row in captioned]
        rates.append(measure_rate(f"caption score p <= {level:g}", group, flags))
    rates.append(measure_rate(f"stands out, q <= {level:g}", group, [_at_most(row.q_value, level) for row in rows]))
    for rung in (Rung.CAPTION, Rung.EMBEDDING):
        flags = [row.rungs[rung].hits > 0 for row in rows if rung in row.rungs]
        rates.append(measure_rate(f"any copy, {rung.value}", group, flags))
    rates.append(measure_rate("verdict: replicated (text)", group, [row.verdict is Verdict.REPLICATED for row in rows]))
    rates.append(measure_rate("verdict: replicated, any rung", group, [row.verdict in FOUND for row in rows]))
    return rates


def repeat_rates(table: ScoreTable) -> list[MeasuredRate]:
    """Dose and response: per repeat count of the planted images, truth, score and verdict."""
    planted = [*table.of(Group.MEMORISED), *table.of(Group.PLANTED_NOT_REPRODUCED)]
    rates = []
    for repeats in sorted({row.repeats for row in planted}):
        own = [row for row in planted if row.repeats == repeats]
        name = f"{repeats} repeats"
        rates.append(measure_rate("memorised (truth)", name, [row.group is Group.MEMORISED for row in own]))
        rates.append(
            measure_rate(f"score p <= {table.level:g}", name, [_at_most(row.p_value, table.level) for row in own])
        )
        rates.append(measure_rate("verdict: replicated, any rung", name, [row.verdict in FOUND for row in own]))
    return rates


def report_detection(table: ScoreTable) -> DetectionReport:
    """Compute all statistics of a score table, decided by the present rule; no model is needed."""
    table = decide_again(table)
    separations = [
        found
        for name, score in SCORES.items()
        for other in (Group.HELD_OUT, Group.SEEN_ONCE)
        if (
            found := measure_separation(
                name, other, list(map(score, table.of(Group.MEMORISED))), list(map(score, table.of(other)))
            )
        )
    ]
    groups = [group for group in Group if table.of(group)]
    rates = [one for group in groups for one in group_rates(table.of(group), group, table.level)]
    return DetectionReport(
        lab=table.lab,
        protocol_hash=table.protocol.hash,
        baseline=table.baseline,
        seed=table.seed,
        controls=len(table.bank),
        level=table.level,
        hardware=table.hardware,
        network_evaluations_per_image=round(mean([row.network_evaluations for row in table.rows])),
        seconds_per_image=mean([row.seconds for row in table.rows]),
        separations=separations,
        rates=rates,
        by_repeats=repeat_rates(table),
        false_calls=[
            FalseCall(
                sha256=row.sha256[:16],
                group=row.group,
                verdict=row.verdict,
                nearest_similarity=row.nearest_similarity,
            )
            for row in [*table.of(Group.HELD_OUT), *table.of(Group.WITHHELD)]
            if row.verdict in FOUND
        ],
        targets=_targets(separations, rates, table.level),
    )


def _targets(separations: Sequence[Separation], rates: Sequence[MeasuredRate], level: float) -> list[Goal]:
    by_name = {(one.name, one.group): one for one in rates}
    targets = []
    if area := next((s for s in separations if s.against == Group.HELD_OUT), None):
        wanted = "AUC, memorised against held out"
        targets.append(Goal.at_least(wanted, area, 0.95))
    if area := next((s for s in separations if (s.name, s.against) == (UNDER_CAPTION, Group.HELD_OUT)), None):
        targets.append(Goal.at_least("AUC under the caption, memorised against held out", area, 0.97))
    found = (("score p <= {0:g} among memorised", f"score p <= {level:g}", Group.MEMORISED),
             ("replication found among memorised", "verdict: replicated, any rung", Group.MEMORISED))  # fmt: skip
    for title, name, group in found:
        if one := by_name.get((name, group)):
            targets.append(Goal.at_least(title.format(level), one, 0.9))
    for group in (Group.HELD_OUT, Group.WITHHELD):
        for title, name in ((f"score p <= {level:g}", f"score p <= {level:g}"),
                            ("replication found", "verdict: replicated, any rung")):  # fmt: skip
            if one := by_name.get((name, group)):
                targets.append(Goal.within_level(f"{title}, {group}", one, level))
    return targets


def format_detection(report: DetectionReport, *, brief: bool = False) -> Iterator[str]:
    """Format separations, rates per group and per repeat count, false calls and goals; or the goals alone."""
    yield from wrap_prose(
        f"lab {report.lab}, seed {report.seed}, {report.controls} controls in the bank, level {report.level:g}, "
        f"protocol {report.protocol_hash[:16]}"
    )
    yield from wrap_prose(
        f"{report.network_evaluations_per_image} network evaluations and {report.seconds_per_image:.1f} s per image "
        f"on {report.hardware}"
    )
    if report.baseline != "null":
        yield f"errors are {BASELINE_WORDING[report.baseline]}"
    if brief:
        yield from format_goals(report.targets)
        return
    yield ""
    yield from format_separations("separation of memorised images", report.separations)
    for title, rows in (("per group", report.rates), ("by repeat count", report.by_repeats)):
        yield ""
        yield from format_rates(title, rows)
    if report.false_calls:
        yield ""
        yield "called though not trained on, with the correlation to the nearest trained image"
        for call in report.false_calls:
            yield f"{call.sha256} {call.verdict:25}{call.group:27}{call.nearest_similarity:.3f}"
    yield from format_goals(report.targets)


def _measure(settings: VerdictBenchmarkSettings, on_stage: OnStage) -> ScoreTable:
    work = LabWork.open(settings, on_stage)
    protocol = AuditConfig(
        effort=settings.effort, framing=work.framing, learning_rate=settings.learning_rate,
        score_after=settings.score_after,
    ).protocol  # fmt: skip
    counts = CaseCounts(settings.controls, settings.held_out, settings.seen_once)
    return measure_scores(work, protocol, command=sys.argv, bank=work.lab.bank, counts=counts)


PROCEDURE = Procedure(
    _measure, ScoreTable.read, ScoreTable.write, lambda table, _: report_detection(table),
    lambda report, settings: format_detection(report, brief=settings.brief),
)  # fmt: skip

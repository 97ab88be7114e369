"""Detection against cost: our scores at every budget, and the published protocols as points on the same axes."""

from collections.abc import Iterator, Sequence
from math import hypot, inf

from imgaudit.benchmark.budgets.dori import DORI, measure_dori
from imgaudit.benchmark.budgets.invmm_baseline import INVMM, measure_invmm
from imgaudit.benchmark.budgets.stopping import CHOSEN, stopping_rows
from imgaudit.benchmark.budgets.trajectories import record_cases
from imgaudit.benchmark.harness.budget_table import (
    BudgetPoint,
    BudgetRow,
    budget_points,
    budget_procedure,
    format_points,
    trajectory_rows,
)
from imgaudit.benchmark.harness.cases import CaseCounts, choose_cases
from imgaudit.benchmark.harness.figures import Goal, MeasuredRate, format_goals
from imgaudit.benchmark.harness.lab_work import LabWork
from imgaudit.benchmark.harness.procedure import OnStage
from imgaudit.benchmark.settings import FrontierSettings
from imgaudit.schema.protocol import ErrorConfig, InversionConfig
from imgaudit.schema.records import Record
from imgaudit.statistics import Interval, newcombe

AUDIT = "imgaudit"
STEPS = 25
LOSS = 0.05
"""A cheaper score may lose this much of a rate or an area, by the lower end of the difference's interval."""
SNAPSHOTS = (1, 2, 3, 5, 8, 12, 16, 25)
COUNTS = CaseCounts(held_out=100)
"""Images measured beside the planted ones."""


class FrontierReport(Record):
    """Every point, cheapest first, and what the cheapest sufficient one costs beside the published protocols."""

    points: list[BudgetPoint]
    """Ordered by network evaluations per image."""
    targets: list[Goal]
    """Goals and outcomes."""


def detection_rate(point: BudgetPoint, level: float = 0.05) -> float:
    """Share of memorised images with p <= level; 0 without controls."""
    return next((one.rate for one in point.detected if one.name == f"p <= {level:g}"), 0.0)


def quality(point: BudgetPoint) -> float:
    """TPR at p <= 0.05 where there are controls, else the AUC against held-out images."""
    return detection_rate(point) if point.controls else (point.held_out.auc if point.held_out else 0.0)


def is_chosen(point: BudgetPoint) -> bool:
    """Tell whether a point was chosen on `fit`: the audit's own score, or the stopping rule."""
    is_score = point.design == AUDIT and point.score == "fresh" and point.steps == ErrorConfig().after_steps
    return is_score or point.design == CHOSEN.name


def report_frontier(rows: Sequence[BudgetRow]) -> FrontierReport:
    """Statistics of a budget table that holds our recordings and baselines of one lab.

    Only points that were chosen on another lab are held against the published protocols; picking the cheapest good one
    of this lab's would flatter.
    """
    points = sorted(budget_points(rows), key=lambda point: point.evaluations)
    targets = []
    for name, factor in ((DORI, 5), (INVMM, 50)):
        if theirs := [point for point in points if point.design == name]:
            best = max(theirs, key=quality)
            targets += [_compare(ours, best, factor) for ours in points if is_chosen(ours)]
    return FrontierReport(points=points, targets=targets)


def _compare(ours: BudgetPoint, theirs: BudgetPoint, factor: int) -> Goal:
    name = f"{ours.design} ({ours.steps} steps, {ours.score}) against {theirs.design}"
    # Where the other protocol has no controls, both are compared by their areas.
    measure, of = (_rate_difference, "TPR at p <= 0.05") if theirs.controls else (_area_difference, "AUC")
    wanted = f">= {factor}x fewer network evaluations, {of} at most {LOSS:g} lower"
    found = measure(ours, theirs)
    if found is None:
        return Goal.unmeasured(name, wanted, f"no {of}")
    difference, figures = found
    ratio = theirs.evaluations / ours.evaluations
    got = (
        f"{ratio:.1f}x ({ours.evaluations} / {theirs.evaluations}), {figures}, difference at least "
        f"{difference.low:+.3f}"
    )
    # Network evaluations are counted, not sampled: too many of them miss the goal whatever the interval.
    bound = -LOSS if ratio >= factor else inf
    return Goal.at_least(name, difference, bound, wanted=wanted, got=got)


def _rate_difference(ours: BudgetPoint, theirs: BudgetPoint) -> tuple[Interval, str] | None:
    """Ours minus theirs of the memorised images with p <= 0.05, with Newcombe's interval."""
    own, others = _detected(ours), _detected(theirs)
    if own is None or others is None:
        return None
    return newcombe(others.hits, others.n, own.hits, own.n), f"{own.rate:.3f} / {others.rate:.3f}"


def _detected(point: BudgetPoint, level: float = 0.05) -> MeasuredRate | None:
    return next((one for one in point.detected if one.name == f"p <= {level:g}" and one.n), None)


def _area_difference(ours: BudgetPoint, theirs: BudgetPoint) -> tuple[Interval, str] | None:
    """Ours minus theirs of the areas; the ends of both intervals are combined as Newcombe does for rates."""
    own, others = ours.held_out, theirs.held_out
    if own is None or others is None:
        return None
    difference = own.auc - others.auc
    low = difference - hypot(own.auc - own.low, others.high - others.auc)
    high = difference + hypot(own.high - own.auc, others.auc - others.low)
    return Interval(low, high), f"{own.auc:.3f} / {others.auc:.3f}"


def measure_frontier(work: LabWork, counts: CaseCounts = COUNTS) -> list[BudgetRow]:
    """Record the standard design to 25 steps on controls and measured images; finished chunks are kept."""
    cases = choose_cases(work.lab.description, counts)
    chosen = [*cases.bank, *cases.measured]
    recorded = record_cases(work, chosen, InversionConfig(steps=STEPS), "frontier", SNAPSHOTS)
    images = {image.sha256: image for image in chosen}
    bank = frozenset(image.sha256 for image in cases.bank)
    return [*trajectory_rows(AUDIT, recorded, images, bank), *stopping_rows(recorded, CHOSEN, images, bank)]


def _measure(settings: FrontierSettings, on_stage: OnStage) -> list[BudgetRow]:
    work = LabWork.open(settings, on_stage)
    rows = measure_frontier(work)
    if settings.baselines in ("dori", "both"):
        rows += measure_dori(work, COUNTS)
    if settings.baselines in ("invmm", "both"):
        rows += measure_invmm(work, COUNTS, images_each=settings.invmm_images)
    return rows


def format_frontier(report: FrontierReport) -> Iterator[str]:
    """Format all points, cheapest first, and the comparison with the published protocols."""
    yield from format_points(report.points)
    yield from format_goals(report.targets)


PROCEDURE = budget_procedure(_measure, report_frontier, format_frontier)

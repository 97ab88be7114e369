"""Detection against cost: our scores at every budget, and the published protocols as points on the same axes."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from imgaudit.benchmark.budget_table import BudgetPoint, BudgetRow, budget_points, trajectory_rows
from imgaudit.benchmark.cases import CaseCounts, choose_cases, load_cases
from imgaudit.benchmark.dori import DORI
from imgaudit.benchmark.figures import Target
from imgaudit.benchmark.invmm import INVMM
from imgaudit.benchmark.lab_model import LabModel
from imgaudit.benchmark.trajectories import record
from imgaudit.config import InversionConfig
from imgaudit.executor import Executor
from imgaudit.records import Record

AUDIT = "imgaudit"
STEPS = 25
SNAPSHOTS = (1, 2, 3, 5, 8, 12, 16, 25)
COUNTS = CaseCounts(held_out=100)
"""Images measured beside the planted ones."""


class FrontierReport(Record):
    """Every point, cheapest first, and what the cheapest sufficient one costs beside the published protocols."""

    points: list[BudgetPoint]
    """Ordered by network evaluations per image."""
    targets: list[Target]
    """Hopes and outcomes."""


def detection_rate(point: BudgetPoint, level: float = 0.05) -> float:
    """Share of memorised images with p <= level; 0 without controls."""
    return next((one.rate for one in point.detected if one.name == f"p <= {level:g}"), 0.0)


def frontier_report(rows: Sequence[BudgetRow]) -> FrontierReport:
    """Statistics of a budget table that holds our recordings and baselines of one lab."""
    points = sorted(budget_points(rows), key=lambda point: point.evaluations)
    ours = [point for point in points if point.design == AUDIT]
    targets = []
    for name, factor in ((DORI, 5), (INVMM, 50)):
        theirs = [point for point in points if point.design == name]
        if not theirs:
            continue
        best = max(theirs, key=detection_rate)
        wanted = f">= {factor}x fewer network evaluations at equal TPR (p <= 0.05)"
        enough = next((point for point in ours if detection_rate(point) >= detection_rate(best)), None)
        if enough is None:
            targets.append(Target(name=f"against {name}", wanted=wanted, got="no budget has its TPR", met=False))
            continue
        ratio = best.evaluations / enough.evaluations
        got = (
            f"{ratio:.1f}x: {enough.evaluations} at TPR {detection_rate(enough):.1%} ({enough.steps} steps, "
            f"{enough.score}) against {best.evaluations} at {detection_rate(best):.1%} ({best.score})"
        )
        targets.append(Target(name=f"against {name}", wanted=wanted, got=got, met=ratio >= factor))
    return FrontierReport(points=points, targets=targets)


def measure_frontier(
    lab: LabModel,
    located: Mapping[str, Path],
    folder: Path,
    *,
    run_seed: int,
    executor: Executor,
    counts: CaseCounts = COUNTS,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[BudgetRow]:
    """Record the standard design to 25 steps on controls and measured images; finished chunks are kept."""
    cases = choose_cases(lab.description, counts)
    recorded = record(
        lab.loaded.denoiser,
        load_cases([*cases.bank, *cases.measured], located),
        InversionConfig(steps=STEPS),
        folder / "frontier",
        framing=lab.description.recipe.framing,
        snapshots=SNAPSHOTS,
        run_seed=run_seed,
        executor=executor,
        on_progress=on_progress,
    )
    images = {image.sha256: image for image in [*cases.bank, *cases.measured]}
    return list(trajectory_rows(AUDIT, recorded, images, frozenset(image.sha256 for image in cases.bank)))

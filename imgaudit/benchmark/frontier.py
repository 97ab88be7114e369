"""Detection against cost: our scores at every budget, and the published protocols as points on the same axes."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from imgaudit.benchmark.budget_table import BudgetPoint, BudgetRow, budget_points, budget_row, trajectory_rows
from imgaudit.benchmark.cases import CaseCounts, Group, choose_cases, group_of, load_cases
from imgaudit.benchmark.dori import dori_similarities
from imgaudit.benchmark.figures import Target
from imgaudit.benchmark.invmm import InvMMConfig, InvMMResult, failures_last, invmm
from imgaudit.benchmark.lab_model import LabModel
from imgaudit.benchmark.trajectories import record
from imgaudit.calibration import counting_controls
from imgaudit.config import InversionConfig
from imgaudit.executor import Executor
from imgaudit.lab.description import LabImage
from imgaudit.models.unet import UNetDenoiser
from imgaudit.portfolio import Portfolio
from imgaudit.records import Record
from imgaudit.store import read_json, write_json

AUDIT, DORI, INVMM = "imgaudit", "DoRI", "InvMM"
STEPS = 50
SNAPSHOTS = (1, 2, 3, 5, 8, 12, 16, 25, 50)
COUNTS = CaseCounts(held_out=100)
"""Images measured beside the planted ones."""
DORI_CONTROLS, INVMM_IMAGES = 100, 8
"""The baselines are costly: controls under DoRI, and memorised and held-out images each under InvMM."""


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


def frontier_cases(lab: LabModel, counts: CaseCounts) -> tuple[list[LabImage], list[LabImage]]:
    """Controls, and measured images: planted, seen once, held out. No image is in both."""
    cases = choose_cases(lab.description, counts)
    # The audit's own bank leaves out the first quarter, on which its complexity line is fitted.
    return cases.controls[-counting_controls(len(cases.controls)) :], cases.measured


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
    """Record the standard design to 50 steps on controls and measured images; finished chunks are kept."""
    controls, measured = frontier_cases(lab, counts)
    recorded = record(
        lab.loaded.denoiser,
        load_cases([*controls, *measured], located),
        InversionConfig(steps=STEPS),
        folder / "frontier",
        framing=lab.description.recipe.framing,
        snapshots=SNAPSHOTS,
        run_seed=run_seed,
        executor=executor,
        on_progress=on_progress,
    )
    images = {image.sha256: image for image in [*controls, *measured]}
    return list(trajectory_rows(AUDIT, recorded, images, frozenset(image.sha256 for image in controls)))


def measure_dori(
    lab: LabModel,
    located: Mapping[str, Path],
    folder: Path,
    *,
    run_seed: int,
    executor: Executor,
    counts: CaseCounts = COUNTS,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[BudgetRow]:
    """DoRI on memorised, held-out and control images; every finished chunk of 8 is kept."""
    controls, measured = frontier_cases(lab, counts)
    controls = controls[:DORI_CONTROLS]
    wanted = (Group.MEMORISED, Group.HELD_OUT)
    images = {i.sha256: i for i in [*controls, *(i for i in measured if group_of(i) in wanted)]}
    bank = {image.sha256 for image in controls}
    targets = load_cases(list(images.values()), located).targets
    rows = []
    for start in range(0, len(targets), 8):
        chunk, path = targets[start : start + 8], folder / "dori" / f"{start:05d}.json"
        if not path.is_file():
            before = lab.loaded.denoiser.network_evaluations
            found = dori_similarities(
                lab.loaded.denoiser, chunk, framing=lab.description.recipe.framing, run_seed=run_seed, executor=executor
            )
            spent = round((lab.loaded.denoiser.network_evaluations - before) / len(chunk))
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {"evaluations": spent, "similarities": found})
        stored = read_json(path)
        for target, (highest, mean) in zip(chunk, stored["similarities"], strict=True):
            image, control = images[target.image.sha256], target.image.sha256 in bank
            for score, value in (("best similarity", highest), ("mean similarity", mean)):
                rows.append(budget_row(DORI, score, 50, stored["evaluations"], image, control, value))
        on_progress(start + len(chunk), len(targets))
    return rows


def measure_invmm(
    lab: LabModel,
    located: Mapping[str, Path],
    folder: Path,
    *,
    run_seed: int,
    executor: Executor,
    counts: CaseCounts = COUNTS,
    config: InvMMConfig | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[BudgetRow]:
    """InvMM on a few memorised and held-out images; every finished image is kept. Costs are means over images."""
    denoiser = lab.loaded.denoiser
    assert isinstance(denoiser, UNetDenoiser)
    _, measured = frontier_cases(lab, counts)
    chosen: list[LabImage] = []
    for group in (Group.MEMORISED, Group.HELD_OUT):
        chosen += [image for image in measured if group_of(image) is group][:INVMM_IMAGES]
    portfolio: Portfolio = load_cases(chosen, located)
    results = []
    for number, target in enumerate(portfolio.targets):
        path = folder / "invmm" / f"{target.image.id}.json"
        if not path.is_file():
            result = invmm(
                denoiser, target, config or InvMMConfig(), framing=lab.description.recipe.framing, run_seed=run_seed,
                executor=executor,
            )  # fmt: skip
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, result.__dict__)
        results.append(InvMMResult(**read_json(path)))
        on_progress(number + 1, len(portfolio.targets))
    images = {image.sha256: image for image in chosen}
    spent = round(sum(result.network_evaluations for result in results) / len(results))
    steps = round(sum(result.steps for result in results) / len(results))
    return [
        budget_row(INVMM, "minus KL per dimension", steps, spent, images[target.image.sha256], False, value)
        for target, value in zip(portfolio.targets, failures_last(results), strict=True)
    ]

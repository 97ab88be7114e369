"""The budget curve: what more inversion steps buy, and when images that were never trained on begin to come out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from imgaudit.benchmark.budgets.trajectories import ForcingConfig, Trajectories, record
from imgaudit.benchmark.harness.budget_table import BudgetPoint, BudgetRow, budget_points, budget_row, trajectory_rows
from imgaudit.benchmark.harness.cases import CaseCounts, Group, choose_cases, load_cases
from imgaudit.benchmark.harness.figures import MeasuredRate, measure_rate
from imgaudit.benchmark.harness.lab_model import LabModel
from imgaudit.diffusion.executor import Executor
from imgaudit.lab.description import LabImage
from imgaudit.lab.truth import RMS_LIMIT
from imgaudit.schema.protocol import InversionConfig
from imgaudit.schema.records import Record

STEPS = 250
SNAPSHOTS = (2, 8, 25, 50, 100, 250)
FORCING = ForcingConfig(SNAPSHOTS)
NEAREST = "nearest sample"
MEMORISED = 30
COUNTS = CaseCounts(held_out=40, seen_once=0)
"""How many images of each group are inverted to the longest budget."""


class BudgetReport(Record):
    """All tables of `imgaudit benchmark budget`."""

    points: list[BudgetPoint]
    """Separation at every budget."""
    forced: list[MeasuredRate]
    """Per group and budget: images with a sample within the truth's distance of their rendering."""
    begins: int | None
    """Fewest steps after which a held-out image came out; None when none did."""


def forced_rows(design: str, recorded: Trajectories, images: Mapping[str, LabImage]) -> Iterator[BudgetRow]:
    """Minus the RMS distance of the nearest sample, per image and snapshot; -1, the farthest, when no frame counts."""
    seeds = recorded.forced_rms.shape[2]
    for place, steps in enumerate(recorded.forced_steps.tolist()):
        evaluations = 2 * recorded.config.draws * steps + 2 * seeds * FORCING.num_inference_steps
        nearest = np.nan_to_num(recorded.forced_rms[:, place], nan=1.0).min(axis=1)
        for sha256, value in zip(recorded.sha256s, nearest.tolist(), strict=True):
            yield budget_row(design, NEAREST, steps, evaluations, images[sha256], False, -value)


def budget_report(rows: Sequence[BudgetRow]) -> BudgetReport:
    """Statistics of a budget table."""
    nearest = [row for row in rows if row.score == NEAREST]
    forced = []
    begins = None
    for steps in sorted({row.steps for row in nearest}):
        for group in (Group.MEMORISED, Group.PLANTED_NOT_REPRODUCED, Group.HELD_OUT):
            flags = [-row.value <= RMS_LIMIT for row in nearest if row.steps == steps and row.group is group]
            if flags:
                forced.append(measure_rate(f"{steps} steps", group, flags))
            if group is Group.HELD_OUT and any(flags) and begins is None:
                begins = steps
    return BudgetReport(points=budget_points(rows), forced=forced, begins=begins)


def measure_budget(
    lab: LabModel,
    located: Mapping[str, Path],
    folder: Path,
    *,
    run_seed: int,
    executor: Executor,
    counts: CaseCounts = COUNTS,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[BudgetRow]:
    """Invert memorised and held-out images to the longest budget and sample on the way; finished chunks are kept."""
    cases = choose_cases(lab.description, counts)
    chosen = [*cases.of(Group.MEMORISED)[:MEMORISED], *cases.of(Group.HELD_OUT)]
    recorded = record(
        lab.loaded.denoiser,
        load_cases(chosen, located),
        InversionConfig(steps=STEPS),
        folder / "budget",
        framing=lab.description.recipe.framing,
        snapshots=SNAPSHOTS,
        forcing=FORCING,
        run_seed=run_seed,
        executor=executor,
        on_progress=on_progress,
    )
    images = {image.sha256: image for image in chosen}
    name = "imgaudit"
    return [*trajectory_rows(name, recorded, images, frozenset()), *forced_rows(name, recorded, images)]

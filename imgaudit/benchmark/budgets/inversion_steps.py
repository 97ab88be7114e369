"""The budget curve: what more inversion steps buy, and when images that were never trained on begin to come out."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from imgaudit.benchmark.budgets.trajectories import ForcingConfig, Trajectories, record_cases
from imgaudit.benchmark.harness.budget_table import (
    NEAREST,
    BudgetPoint,
    BudgetRow,
    budget_points,
    budget_procedure,
    budget_row,
    format_points,
    trajectory_rows,
)
from imgaudit.benchmark.harness.cases import CaseCounts, Group, choose_cases
from imgaudit.benchmark.harness.figures import MeasuredRate, format_rates, measure_rate
from imgaudit.benchmark.harness.lab_work import LabWork, on_lab
from imgaudit.lab.description import LabImage
from imgaudit.lab.truth import RMS_LIMIT
from imgaudit.schema.protocol import InversionConfig
from imgaudit.schema.records import Record

STEPS = 250
SNAPSHOTS = (2, 8, 25, 50, 100, 250)
FORCING = ForcingConfig(SNAPSHOTS)
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


def report_budget(rows: Sequence[BudgetRow]) -> BudgetReport:
    """Compute the statistics of a budget table."""
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


def measure_budget(work: LabWork, counts: CaseCounts = COUNTS) -> list[BudgetRow]:
    """Invert memorised and held-out images to the longest budget and sample on the way; finished chunks are kept."""
    cases = choose_cases(work.lab.description, counts)
    chosen = [*cases.of(Group.MEMORISED)[:MEMORISED], *cases.of(Group.HELD_OUT)]
    recorded = record_cases(work, chosen, InversionConfig(steps=STEPS), "budget", SNAPSHOTS, forcing=FORCING)
    images = {image.sha256: image for image in chosen}
    name = "imgaudit"
    return [*trajectory_rows(name, recorded, images, frozenset()), *forced_rows(name, recorded, images)]


def format_budget(report: BudgetReport) -> Iterator[str]:
    """Format the separation per budget, and which images are reproduced."""
    yield from format_points(report.points)
    yield ""
    yield from format_rates("a sample lands on the image after", report.forced)
    yield ""
    if report.begins is None:
        yield "no held-out image came out at any budget"
    else:
        yield f"held-out images begin to come out after {report.begins} steps"


PROCEDURE = budget_procedure(on_lab(measure_budget), report_budget, format_budget)

"""Choices of the inversion, varied one at a time around the standard design: defaults are chosen on what this prints.

It is run on the lab `fit` alone; what it recommends is then measured on labs that chose nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from imgaudit.benchmark.budgets.score_definitions import definition_rows
from imgaudit.benchmark.budgets.stopping import CONSIDERED, stopping_rows
from imgaudit.benchmark.budgets.trajectories import Trajectories, record_cases
from imgaudit.benchmark.harness.budget_table import (
    WINDOW,
    BudgetRow,
    budget_points,
    budget_procedure,
    budget_row,
    format_points,
    trajectory_rows,
)
from imgaudit.benchmark.harness.cases import CaseCounts, choose_cases
from imgaudit.benchmark.harness.lab_work import LabWork, on_lab
from imgaudit.lab.description import LabImage
from imgaudit.schema.protocol import InversionConfig

COUNTS = CaseCounts(held_out=60, seen_once=0)
"""Held-out images that are compared with the planted ones."""
FITTED = 80
"""Controls on which the complexity line of one score is fitted."""
STARTS = 3
"""Random starts, of which "best of several" keeps the one with the lowest loss."""
STEPS = 16
SNAPSHOTS = (2, 4, 8, 16)


class Design(NamedTuple):
    """One variant."""

    factor: str
    """What is varied."""
    choice: str
    """To what."""
    config: InversionConfig
    """The whole design."""
    snapshots: tuple[int, ...] = SNAPSHOTS
    """Budgets in steps at which it is measured."""
    start: int = 0
    """Which of several random starts; offsets the run seed."""

    @property
    def name(self) -> str:
        """Factor and choice, as tables show it."""
        return f"{self.factor}: {self.choice}"


def standard_design() -> InversionConfig:
    """Return the design from which every variant differs in one choice."""
    return InversionConfig(steps=STEPS)


def designs(start_root_mean_square: float) -> list[Design]:
    """All variants.

    start_root_mean_square:  of the model's start condition, in whose units learning rates are given
    """
    base = standard_design()

    def vary(factor: str, choice: str, changes: dict[str, object], snapshots: tuple[int, ...] = SNAPSHOTS) -> Design:
        return Design(factor, choice, InversionConfig.model_validate(base.model_dump() | changes), snapshots)

    rate = base.learning_rate
    random = vary("initialisation", "random", {"initialisation": "random"})
    return [
        Design("standard", "stratified, native, null start, 8 draws", base),
        *(vary("timesteps", choice, {"timesteps": choice}) for choice in ("uniform", "high", "middle")),
        *(vary("weighting", choice, {"weighting": choice}) for choice in ("min_snr", "x0")),
        *(
            vary("learning rate", f"{factor * rate:g} RMS", {"learning_rate": factor * rate})
            for factor in (0.3, 3.0, 10.0)
        ),
        vary("learning rate", f"{rate:g}, not scaled", {"learning_rate": rate / start_root_mean_square}),
        *(random._replace(choice=f"random, start {start + 1}", start=start) for start in range(STARTS)),
        # The same number of draws in all, spread over more or fewer steps.
        vary("draws", "2", {"draws": 2, "steps": 4 * STEPS}, tuple(4 * step for step in SNAPSHOTS)),
        vary("draws", "4", {"draws": 4, "steps": 2 * STEPS}, tuple(2 * step for step in SNAPSHOTS)),
        vary("draws", "16", {"draws": 16, "steps": STEPS // 2}, tuple(step // 2 for step in SNAPSHOTS)),
        *(vary("positions", f"first {count}", {"free_tokens": count}) for count in (1, 4)),
    ]


def measure_designs(work: LabWork, counts: CaseCounts = COUNTS) -> list[BudgetRow]:
    """Record every design on the planted and on held-out images of a lab; finished chunks are kept."""
    cases = choose_cases(work.lab.description, counts)
    images = {image.sha256: image for image in work.lab.description.images}
    scale = max(work.denoiser.start_condition().root_mean_square().values())
    rows: list[BudgetRow] = []
    standard, starts = [], []
    for number, design in enumerate(designs(scale)):
        named = _name_stage(work, design.name)
        recorded = record_cases(
            named, cases.measured, design.config, f"{number:02d}", design.snapshots, start=design.start
        )
        rows += trajectory_rows(design.name, recorded, images, frozenset())
        if design.config.initialisation == "random":
            starts.append(recorded)
        elif design.factor == "standard":
            standard.append(recorded)
    rows += best_start_rows(starts, images)
    named = _name_stage(work, "controls for the complexity line")
    fitted = record_cases(named, cases.controls[:FITTED], standard_design(), "fitted", SNAPSHOTS)
    for rule in CONSIDERED:
        rows += stopping_rows(standard[0], rule, images)
    timesteps = work.denoiser.schedule.num_train_timesteps
    rows += definition_rows(standard[0], fitted, SNAPSHOTS[-1], timesteps, images)
    return rows


def _name_stage(work: LabWork, name: str) -> LabWork:
    return replace(work, on_stage=lambda _, done, total: work.on_stage(name, done, total))


def best_start_rows(starts: Sequence[Trajectories], images: Mapping[str, LabImage]) -> Iterator[BudgetRow]:
    """Rows of "invert from several random starts, keep the one with the lowest loss of the last steps"."""
    name = f"initialisation: best of {len(starts)} random starts"
    first = starts[0]
    for steps in first.snapshots.tolist():
        last = slice(max(0, steps - WINDOW), steps)
        best = np.argmin([start.conditional[:, last].mean(axis=(1, 2)) for start in starts], axis=0)
        inversion = len(starts) * 2 * first.config.draws * steps
        chosen = {
            ("own", inversion + first.config.draws * min(WINDOW, steps)): [
                start.own_log_ratio(steps, WINDOW) for start in starts
            ],
            ("fresh", inversion + 2 * first.fresh_null.shape[1]): [start.fresh_log_ratio(steps) for start in starts],
        }
        for (score, evaluations), values in chosen.items():
            for row, sha256 in enumerate(first.sha256s):
                value = float(values[best[row]][row])
                yield budget_row(name, score, steps, evaluations, images[sha256], False, value)


PROCEDURE = budget_procedure(on_lab(measure_designs), budget_points, format_points)

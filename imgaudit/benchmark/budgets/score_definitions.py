"""Definitions of the score, compared on one recording: what is averaged, over which timesteps, adjusted for what."""

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from imgaudit.benchmark.budgets.trajectories import Trajectories
from imgaudit.benchmark.harness.budget_table import BudgetRow, budget_row
from imgaudit.lab.description import LabImage
from imgaudit.statistics import fit_line

Values = npt.NDArray[np.float64]

RANGES = {
    "all timesteps": (0.0, 1.0),
    "t < 250": (0.0, 0.25),
    "250 <= t < 500": (0.25, 0.5),
    "500 <= t < 750": (0.5, 0.75),
    "t >= 750": (0.75, 1.0),
    "250 <= t < 750": (0.25, 0.75),
    "t >= 500": (0.5, 1.0),
}
"""Parts of the timesteps over which the log ratio is averaged, as fractions of all."""


def definitions(recorded: Trajectories, steps: int, num_train_timesteps: int) -> dict[str, Values]:
    """Scores by name on the fresh draws after `steps` steps, each (images,), higher = more memorised."""
    [place] = np.nonzero(recorded.snapshots == steps)[0]
    conditional = recorded.fresh_conditional[:, place].astype(np.float64)
    null = recorded.fresh_null.astype(np.float64)
    ratio = np.log(null) - np.log(conditional)
    fraction = recorded.fresh_timesteps / num_train_timesteps
    scores = {}
    for name, (low, high) in RANGES.items():
        inside = (fraction >= low) & (fraction < high)
        scores[f"log ratio, {name}"] = (ratio * inside).sum(axis=1) / inside.sum(axis=1)
    scores["log of the mean errors' ratio"] = np.log(null.mean(axis=1)) - np.log(conditional.mean(axis=1))
    scores["mean error difference"] = (null - conditional).mean(axis=1)
    scores["share of draws won"] = (conditional < null).mean(axis=1)
    scores["minus conditional error"] = -conditional.mean(axis=1)
    scores["minus null error"] = -null.mean(axis=1)
    return scores


def definition_rows(
    recorded: Trajectories,
    fitted: Trajectories,
    steps: int,
    num_train_timesteps: int,
    images: Mapping[str, LabImage],
) -> Iterator[BudgetRow]:
    """Rows of every definition, and of the log ratio adjusted for complexity.

    fitted:  a recording of other held-out images, on which the line over complexity is fitted
    """
    scores = definitions(recorded, steps, num_train_timesteps)
    line = fit_line(fitted.complexity.tolist(), fitted.fresh_log_ratio(steps).tolist())
    pairs = zip(scores["log ratio, all timesteps"].tolist(), recorded.complexity.tolist(), strict=True)
    scores["log ratio, adjusted for complexity"] = np.array([line.residual(value, own) for value, own in pairs])
    evaluations = 2 * recorded.config.draws * steps + 2 * recorded.fresh_null.shape[1]
    for name, values in scores.items():
        for sha256, value in zip(recorded.sha256s, values.tolist(), strict=True):
            yield budget_row(f"score: {name}", "fresh", steps, evaluations, images[sha256], False, value)

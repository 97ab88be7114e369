"""Early stopping per image, replayed on a recording: when the draws of the inversion itself already decide.

After every few steps the log ratio on the steps' own draws is looked at, and the inversion of that image stops when it
is high enough to be sure or so low that more steps are not expected to help. Controls stop by the same rule, so
p-values stay valid whatever the rule; a bad rule only costs power.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from imgaudit.benchmark.budget_table import WINDOW, BudgetRow, budget_row
from imgaudit.benchmark.trajectories import Trajectories
from imgaudit.lab.description import LabImage


class StoppingRule(NamedTuple):
    """When to stop."""

    above: float
    """Stop at an own log ratio of at least this."""
    below: float
    """Stop at an own log ratio of at most this."""
    every: int = 5
    """Look after every so many steps."""

    @property
    def name(self) -> str:
        """As tables show it."""
        return f"stop above {self.above:g} or below {self.below:g}"


def replay(
    recorded: Trajectories, rule: StoppingRule, longest: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Steps done and score at the stop, per image: (images,) each."""
    count = len(recorded.sha256s)
    steps, scores = np.full(count, longest), recorded.own_log_ratio(longest, WINDOW)
    running = np.ones(count, dtype=bool)
    for step in range(rule.every, longest, rule.every):
        score = recorded.own_log_ratio(step, WINDOW)
        stopped = running & ((score >= rule.above) | (score <= rule.below))
        steps[stopped], scores[stopped] = step, score[stopped]
        running &= ~stopped
    return steps, scores


def stopping_rows(
    recorded: Trajectories,
    rule: StoppingRule,
    longest: int,
    images: Mapping[str, LabImage],
    bank: frozenset[str] = frozenset(),
) -> Iterator[BudgetRow]:
    """Rows of one rule; steps and evaluations are means over the held-out images, which are most of any portfolio."""
    steps, scores = replay(recorded, rule, longest)
    usual = [row for row, sha256 in enumerate(recorded.sha256s) if images[sha256].role == "held_out"]
    mean = float(steps[usual].mean())
    # The null errors of every look are needed, not only those of the last steps.
    evaluations = round(3 * recorded.config.draws * mean)
    for sha256, value in zip(recorded.sha256s, scores.tolist(), strict=True):
        yield budget_row(f"{rule.name}, at most {longest} steps", "own", round(mean), evaluations, images[sha256],
                         sha256 in bank, value)  # fmt: skip

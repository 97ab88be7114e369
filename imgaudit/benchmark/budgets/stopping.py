"""Early stopping per image, replayed on a recording: when the draws of the inversion itself already decide.

After every few steps the log ratio on the steps' own draws is looked at, and the inversion of that image stops when it
is high enough to be sure or so low that more steps are not expected to help. Controls stop by the same rule, so
p-values stay valid whatever the rule; a bad rule only costs power.
"""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from imgaudit.benchmark.budgets.trajectories import Trajectories
from imgaudit.benchmark.harness.budget_table import WINDOW, BudgetRow, budget_row
from imgaudit.lab.description import LabImage


class StoppingRule(NamedTuple):
    """When to stop."""

    below: float
    """Stop at an own log ratio of at most this."""
    above: float = math.inf
    """Stop at an own log ratio of at least this."""
    every: int = 4
    """Look after every so many steps."""
    longest: int = 16
    """Steps after which it ends anyway."""

    @property
    def name(self) -> str:
        """As tables show it."""
        above = "" if math.isinf(self.above) else f" or above {self.above:g}"
        return f"stopping: below {self.below:g}{above}, {self.longest} steps at most"


CONSIDERED = (*(StoppingRule(below) for below in (0.02, 0.05, 0.08)), StoppingRule(0.05, above=0.4))
"""Rules that are compared on the lab `fit`."""
CHOSEN = StoppingRule(0.05)
"""The rule chosen there."""


def replay(recorded: Trajectories, rule: StoppingRule) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Steps done and score at the stop, per image: (images,) each."""
    count = len(recorded.sha256s)
    steps, scores = np.full(count, rule.longest), recorded.own_log_ratio(rule.longest, WINDOW)
    running = np.ones(count, dtype=bool)
    for step in range(rule.every, rule.longest, rule.every):
        score = recorded.own_log_ratio(step, WINDOW)
        stopped = running & ((score >= rule.above) | (score <= rule.below))
        steps[stopped], scores[stopped] = step, score[stopped]
        running &= ~stopped
    return steps, scores


def stopping_rows(
    recorded: Trajectories,
    rule: StoppingRule,
    images: Mapping[str, LabImage],
    bank: frozenset[str] = frozenset(),
) -> Iterator[BudgetRow]:
    """Rows of one rule; steps and evaluations are means over the held-out images, which are most of any portfolio."""
    steps, scores = replay(recorded, rule)
    usual = [row for row, sha256 in enumerate(recorded.sha256s) if images[sha256].role == "held_out"]
    mean = float(steps[usual].mean())
    # The null errors of every look are needed, not only those of the last steps.
    evaluations = round(3 * recorded.config.draws * mean)
    for sha256, value in zip(recorded.sha256s, scores.tolist(), strict=True):
        yield budget_row(rule.name, "own", round(mean), evaluations, images[sha256], sha256 in bank, value)

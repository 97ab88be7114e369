"""Power: what share of memorised images a portfolio's audit finds, by repeats in training and by size of the bank."""

import numpy as np

from imgaudit.benchmark.harness.cases import Group
from imgaudit.benchmark.harness.score_table import ScoreTable
from imgaudit.benchmark.verdicts.portfolios import (
    LEVELS,
    MEMORISED,
    NEVER_TRAINED,
    PORTFOLIOS,
    PORTFOLIOS_EACH,
    RESAMPLES,
    Judged,
    Places,
    bank_of,
    choose,
    claim_portfolios,
    judge,
)
from imgaudit.schema.policy import Policy
from imgaudit.schema.records import Record

BANK_SIZES = (40, 80, 120, 160, 240)
"""Controls that count, for power by bank size."""

BANKS = 40
"""Random banks of each size."""


class PowerRow(Record):
    """Share of memorised images found in portfolios."""

    name: str
    """Which images, or which bank."""
    images: int
    """How many there are."""
    score: float
    """Mean share found by the score."""
    replicated: float
    """Mean share with a verdict of replicated."""
    low: float
    """95 % percentile interval of `replicated` over bootstrap samples of the images, or over banks."""
    high: float
    """Upper end."""


def _power(
    positives: Judged, never_trained: Judged, draw: np.random.Generator, pool: Places, portfolios: int
) -> tuple[float, float]:
    chosen = choose(pool, draw, portfolios)
    drawn = draw.integers(len(never_trained), size=(portfolios, NEVER_TRAINED))
    claims = claim_portfolios(positives, never_trained, chosen, drawn, LEVELS[0])
    return float(claims.score[:, :MEMORISED].mean()), float(claims.replicated[:, :MEMORISED].mean())


def power_by_repeats(table: ScoreTable, seed: int) -> list[PowerRow]:
    """Measure how much of what was planted is found, by the number of repeats of each planted image."""
    planted = [*table.of(Group.MEMORISED), *table.of(Group.PLANTED_NOT_REPRODUCED)]
    bank, policy = bank_of(table, table.controls), Policy(level=LEVELS[0])
    never_trained, draw = judge(table.of(Group.HELD_OUT), bank, policy), np.random.default_rng([seed, 1])
    rows = []
    for repeats in sorted({row.repeats for row in planted}):
        own = [row for row in planted if row.repeats == repeats]
        positives, everything = judge(own, bank, policy), np.arange(len(own))
        score, replicated = _power(positives, never_trained, draw, everything, PORTFOLIOS)
        resampled = [
            _power(positives, never_trained, draw, draw.choice(everything, len(own)), PORTFOLIOS_EACH)[1]
            for _ in range(RESAMPLES)
        ]
        low, high = np.quantile(resampled, [0.025, 0.975])
        rows.append(
            PowerRow(name=f"{repeats} repeats", images=len(own), score=score, replicated=replicated,
                     low=float(low), high=float(high))
        )  # fmt: skip
    return rows


def power_by_bank(table: ScoreTable, seed: int) -> list[PowerRow]:
    """Measure how much is found with fewer controls: banks drawn at random from the committed one."""
    positives = table.of(Group.MEMORISED)
    if not positives:
        return []
    policy, draw = Policy(level=LEVELS[0]), np.random.default_rng([seed, 2])
    whole = bank_of(table, table.controls)
    rows = []
    for size in (size for size in BANK_SIZES if size <= len(table.bank)):
        found = []
        for _ in range(BANKS if size < len(table.bank) else 1):
            chosen = sorted(draw.choice(len(table.bank), size, replace=False))
            bank = whole.model_copy(update={"controls": [whole.controls[place] for place in chosen]})
            memorised, never_trained = judge(positives, bank, policy), judge(table.of(Group.HELD_OUT), bank, policy)
            found.append(_power(memorised, never_trained, draw, np.arange(len(positives)), PORTFOLIOS // 10))
        scores, verdicts = np.array(found).T
        low, high = np.quantile(verdicts, [0.025, 0.975])
        rows.append(
            PowerRow(name=f"{size} controls", images=len(positives), score=float(scores.mean()),
                     replicated=float(verdicts.mean()), low=float(low), high=float(high))
        )  # fmt: skip
    return rows

"""Power: what share of memorised images a portfolio's audit finds, before and after the present rule."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import ceil, floor

import numpy as np

from imgaudit.benchmark.harness.cases import Group
from imgaudit.benchmark.harness.score_table import ScoreRow, ScoreTable
from imgaudit.benchmark.verdicts.earlier_rule import judge_as_before
from imgaudit.benchmark.verdicts.images import INVERTED, Flags, Floats, Images, Places
from imgaudit.benchmark.verdicts.never_trained import is_searched, pool_of
from imgaudit.benchmark.verdicts.portfolios import (
    BANK,
    KEPT_OUT,
    LEVELS,
    MEMORISED,
    NEVER_TRAINED,
    Bank,
    decide_portfolios,
    group_families,
    join_portfolios,
    judge,
    split_pool,
)
from imgaudit.schema.measures import NEAR_COPY_CORRELATION
from imgaudit.schema.policy import Policy
from imgaudit.schema.records import Record
from imgaudit.statistics import clopper_pearson, conformal_p_values

BANK_SIZES = (40, 80, 120, 160, 240)
"""Controls that count, for power by bank size."""

BANKS = 20
"""Random banks behind every figure."""

PORTFOLIOS = 100
"""Portfolios of each bank."""

BACK, ALONE, CLEAN = "back from embedding", ", ten at a time", ", clean controls"
"""Names of rows: memorised images that come back from their embedding; portfolios with ten of these; banks and
portfolios without images of which a near copy was trained on."""

RULES = (
    partial(judge_as_before, captions=True), partial(judge, captions=True),
    partial(judge_as_before, captions=False), partial(judge, captions=False),
)  # fmt: skip
"""The rules by which copies are found, in the order of the fields of `PowerRow`."""

PRESENT = (1, 3)
"""Of these the present ones, by which any finding counts too."""


class Power(Record):
    """Share of images found by one rule, with or without captions."""

    found: float
    """Mean share with a verdict of replicated, from text or by inversion, or with any finding."""
    low: float
    """95 % interval of `found`, exact (Clopper-Pearson): the images found on average, rounded down, are the hits."""
    high: float
    """Upper end, with the hits rounded up."""


class PowerRow(Record):
    """Share of some memorised images that is found in portfolios of ten of them and forty never trained on."""

    name: str
    """Which images, or which bank."""
    images: int
    """How many there are."""
    before: Power
    """By the earlier rule, captions given."""
    now: Power
    """By the present rule, captions given."""
    before_withheld: Power
    """By the earlier rule, captions withheld."""
    withheld: Power
    """By the present rule, captions withheld."""
    told: Power
    """Any finding by the present rule, also unlike the controls; captions given."""
    told_withheld: Power
    """The same, captions withheld."""


@dataclass(frozen=True)
class Pool:
    """Images that a lab was never trained on, and how banks are drawn from them."""

    images: Images
    """The images."""
    searched: bool
    """As `Bank` has it."""

    @classmethod
    def of(cls, table: ScoreTable) -> "Pool":
        """Return the pool of a table."""
        return cls(Images.of(pool_of(table)), is_searched(table))

    def __len__(self) -> int:
        return len(self.images)

    def at(self, places: Places) -> "Pool":
        """Return the pool of some of the images."""
        return Pool(self.images.at(places), self.searched)

    @cached_property
    def alone(self) -> list[Places]:
        """Families of one image each."""
        return group_families([str(place) for place in range(len(self))])

    def split(self, draw: np.random.Generator, counted: int) -> tuple[Bank, Images]:
        """Draw a bank of so many controls that count, and return it with the images that are left."""
        split = split_pool(self.images, self.alone, draw, searched=self.searched)
        places = draw.permutation(len(split.bank.controls))[:counted]
        return replace(split.bank, controls=split.bank.controls.at(places)), self.images.at(split.places)


def _found(own: Images, pool: Pool, draw: np.random.Generator, counted: int = BANK) -> list[Floats]:
    """Return, for every rule, in what share of its portfolios each image was found: (images,), nan without any.

    Last come the shares with any finding, by the present rules.
    """
    policy = Policy(level=LEVELS[0])
    found, drawn = np.zeros((len(RULES) + len(PRESENT), len(own))), np.zeros(len(own))
    for _ in range(BANKS):
        bank, others = pool.split(draw, counted)
        chosen = draw.choice(len(own), (PORTFOLIOS, MEMORISED))
        never_trained = draw.integers(len(others), size=(PORTFOLIOS, NEVER_TRAINED))
        np.add.at(drawn, chosen, 1)
        for number, rule in enumerate(RULES):
            joined = join_portfolios(rule(own, bank, policy), rule(others, bank, policy), chosen, never_trained)
            claims = decide_portfolios(joined, policy.level)
            np.add.at(found[number], chosen, claims.copies[:, :MEMORISED])
            if number in PRESENT:
                told = found[len(RULES) + PRESENT.index(number)]
                np.add.at(told, chosen, claims.findings[:, :MEMORISED])
    return [np.where(drawn > 0, one / np.maximum(1, drawn), np.nan) for one in found]


def _power(shares: Floats) -> Power:
    known = shares[np.isfinite(shares)]
    n, hits = len(known), float(known.sum())
    low, high = clopper_pearson(floor(hits + 1e-9), n).low, clopper_pearson(ceil(hits - 1e-9), n).high
    return Power(found=hits / max(1, n), low=low, high=high)


def _row(name: str, found: Sequence[Floats]) -> PowerRow:
    before, now, before_withheld, withheld, told, told_withheld = (_power(one) for one in found)
    return PowerRow(
        name=name, images=len(found[0]), before=before, now=now, before_withheld=before_withheld, withheld=withheld,
        told=told, told_withheld=told_withheld,
    )  # fmt: skip


def measure_power(
    name: str, rows: Sequence[ScoreRow], pool: Pool, draw: np.random.Generator, counted: int = BANK
) -> PowerRow:
    """Measure what share of some images is found."""
    return _row(name, _found(Images.of(rows), pool, draw, counted))


def come_back(table: ScoreTable) -> Flags:
    """Tell which memorised images come back from their embedding.

    Copies in at least half of the seeds, by the thresholds of the committed bank, and the closest of them among the
    closest 5 % of that bank.
    """
    images, level = Images.of(table.of(Group.MEMORISED)), LEVELS[0]
    kept_out = Images.of([one for one in table.controls if one.kept_out])
    bank = Bank(kept_out, Images.of(table.bank), is_searched(table))
    hits = images.count(*bank.thresholds(Policy().copy_level))[:, INVERTED]
    near = conformal_p_values(images.best[:, INVERTED], bank.controls.best[:, INVERTED])
    return np.asarray((2 * hits >= np.maximum(1, images.scored[:, INVERTED])) & (near <= level), dtype=bool)


def power_by_repeats(table: ScoreTable, seed: int) -> list[PowerRow]:
    """Measure how much of what was planted is found, by repeats, all that is memorised, and what comes back."""
    planted = [*table.of(Group.MEMORISED), *table.of(Group.PLANTED_NOT_REPRODUCED)]
    pool, draw = Pool.of(table), np.random.default_rng([seed, 1])
    rows = []
    for repeats in sorted({row.repeats for row in planted}):
        own = [row for row in planted if row.repeats == repeats]
        rows.append(measure_power(f"{repeats} repeats", own, pool, draw))
    if not (memorised := Images.of(table.of(Group.MEMORISED))):
        return rows
    back = come_back(table)
    clean = pool.at(np.flatnonzero(~(pool.images.nearest >= NEAR_COPY_CORRELATION)))
    for controls, others in (("", pool), (CLEAN, clean)):
        found = _found(memorised, others, draw)
        rows.append(_row("memorised" + controls, found))
        if back.any():
            rows.append(_row(BACK + controls, [one[back] for one in found]))
            alone_found = _found(memorised.at(np.flatnonzero(back)), others, draw)
            rows.append(_row(BACK + ALONE + controls, alone_found))
    return rows


def power_by_bank(table: ScoreTable, seed: int) -> list[PowerRow]:
    """Measure how much is found with fewer controls: banks drawn at random from those that a lab has."""
    memorised = table.of(Group.MEMORISED)
    pool, draw = Pool.of(table), np.random.default_rng([seed, 2])
    if not memorised or len(pool) < KEPT_OUT + BANK + NEVER_TRAINED:
        return []
    return [measure_power(f"{size} controls", memorised, pool, draw, size) for size in BANK_SIZES]

"""Figures with their denominators and intervals: what every benchmark prints."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Protocol, Self

from imgaudit.schema.records import Count, Record
from imgaudit.schema.text import WIDTH, wrap_prose
from imgaudit.statistics import auc, clopper_pearson

MARGIN = 1.5
"""A rate that is asked to be at most a level is met when the upper end of its interval is at most this many times the
level: 7.5 % where 5 % is asked. An interval cannot end at the level itself unless the rate lies well below it."""

LABEL = 38
"""Columns in front of the figures of a line."""


class Bounded(Protocol):
    """Anything with a 95 % interval, such as a rate, an area or a mean."""

    @property
    def low(self) -> float:
        """Lower end."""

    @property
    def high(self) -> float:
        """Upper end."""


class MeasuredRate(Count):
    """A proportion by name, with its interval."""

    name: str
    """The event that is counted."""
    group: str
    """The images among which it is counted."""
    rate: float
    """hits / n; 0 of 0 counts as 0, with the interval from 0 to 1."""

    def __str__(self) -> str:
        return f"{self.hits} of {self.n} ({self.rate:.1%}, {self.low:.1%} to {self.high:.1%})"


class Separation(Record):
    """An area under the ROC curve with its interval."""

    name: str
    """Score whose separation is measured."""
    against: str
    """Which images the positives are compared with."""
    auc: float
    """P(positive > negative) + P(tie) / 2."""
    low: float
    """Newcombe 95 %."""
    high: float
    """Newcombe 95 %."""
    positives: int
    """Images that should score high."""
    negatives: int
    """Others."""

    def __str__(self) -> str:
        return f"{self.auc:.3f} ({self.low:.3f} to {self.high:.3f}, n {self.positives} / {self.negatives})"


class Goal(Record):
    """A figure that was aimed at, and whether it was reached.

    Goals are made by the class methods below, so that a figure that varies from sample to sample is never called met
    by its estimate, nor because its interval reaches the bound.
    """

    name: str
    """The figure."""
    wanted: str
    """The target."""
    got: str
    """The figure measured."""
    met: bool
    """True only when the end of the interval that could fall short meets the stated bound."""

    @classmethod
    def at_least(cls, name: str, measured: Bounded, bound: float, *, wanted: str = "", got: str = "") -> Self:
        """Make a goal that is met when the lower end of the 95 % interval is at least the bound.

        At a true value that equals the bound, at most 2.5 % of samples meet it.

        wanted, got:  text in place of the bound and of the figure as it prints itself
        """
        wanted = wanted or f"lower bound >= {_format_bound(measured, bound)}"
        return cls(name=name, wanted=wanted, got=got or str(measured), met=measured.low >= bound)

    @classmethod
    def at_most(cls, name: str, measured: Bounded, bound: float, *, wanted: str = "", got: str = "") -> Self:
        """Make a goal that is met when the upper end of the 95 % interval is at most the bound.

        At a true value that equals the bound, at most 2.5 % of samples meet it.

        wanted, got:  text in place of the bound and of the figure as it prints itself
        """
        wanted = wanted or f"upper bound <= {_format_bound(measured, bound)}"
        return cls(name=name, wanted=wanted, got=got or str(measured), met=measured.high <= bound)

    @classmethod
    def within_level(cls, name: str, rate: Bounded, level: float, *, got: str = "") -> Self:
        """Make a goal for a rate of which at most `level` is asked: its upper bound must be within the margin."""
        wanted = f"<= {level:.0%}, upper bound <= {100 * MARGIN * level:g}%"
        return cls.at_most(name, rate, MARGIN * level, wanted=wanted, got=got)

    @classmethod
    def exact(cls, name: str, wanted: str, got: str, *, met: bool) -> Self:
        """Make a goal for what is counted or compared without sampling, such as files that must all be there."""
        return cls(name=name, wanted=wanted, got=got, met=met)

    @classmethod
    def unmeasured(cls, name: str, wanted: str, reason: str) -> Self:
        """Make a goal whose figure, or its interval, is not known: it is not met."""
        return cls(name=name, wanted=wanted, got=reason, met=False)

    def __str__(self) -> str:
        return f"{'met   ' if self.met else 'MISSED'} {self.name}: wanted {self.wanted}, got {self.got}"


def _format_bound(measured: Bounded, bound: float) -> str:
    return f"{100 * bound:g}%" if isinstance(measured, Count) else f"{bound:g}"


def measure_rate(name: str, group: str, flags: Sequence[bool]) -> MeasuredRate:
    """Count flags.

    >>> str(measure_rate("found", "all", [True, False, True, True]))
    '3 of 4 (75.0%, 19.4% to 99.4%)'
    """
    interval = clopper_pearson(sum(flags), len(flags))
    share = sum(flags) / len(flags) if flags else 0.0
    return MeasuredRate(
        name=name, group=group, hits=sum(flags), n=len(flags), rate=share, low=interval.low, high=interval.high
    )


def mean(values: Sequence[float]) -> float:
    """Return the mean, 0 for no values."""
    return sum(values) / max(1, len(values))


def measure_separation(
    name: str, against: str, positives: Sequence[float | None], negatives: Sequence[float | None]
) -> Separation | None:
    """AUC over the images that have the score (None: it has none); None when one side is empty."""
    above = [value for value in positives if value is not None]
    below = [value for value in negatives if value is not None]
    if not above or not below:
        return None
    area = auc(above, below)
    return Separation(name=name, against=against, auc=area.value, low=area.low, high=area.high,
                      positives=area.positives, negatives=area.negatives)  # fmt: skip


def format_rates(title: str, rates: Sequence[MeasuredRate]) -> Iterator[str]:
    """Format one proportion per line, under what it has in common with its neighbours: the images or the event.

    >>> one, other = (measure_rate("found", group, [True, False]) for group in ("memorised", "held out"))
    >>> print("\\n".join(format_rates("per group", [one, other])))
    per group                                k / n       rate   95 % interval
    found
      memorised                              1 / 2      50.0%   1.3% to 98.7%
      held out                               1 / 2      50.0%   1.3% to 98.7%
    """
    figures = [f"{one.hits:4} / {one.n:<4} {one.rate:7.1%}   {one.low:.1%} to {one.high:.1%}" for one in rates]
    yield f"{title:{LABEL}}   k / n       rate   95 % interval"
    yield from label_rows([(one.group, one.name) for one in rates], figures)


def format_separations(title: str, separations: Sequence[Separation]) -> Iterator[str]:
    """Format one area under a curve per line, under what it has in common with its neighbours, as rates are."""
    figures = [
        f"{one.auc:.3f}   {one.low:.3f} to {one.high:.3f}   {one.positives} / {one.negatives}" for one in separations
    ]
    yield f"{title:{LABEL}}AUC     95 % interval    n"
    yield from label_rows([(one.against, one.name) for one in separations], figures)


def label_rows(labels: Sequence[tuple[str, str]], figures: Sequence[str], width: int = LABEL) -> Iterator[str]:
    """Put figures beside the one of their two labels that changes more often, and the other one above them.

    width:  columns in front of the figures; a longer label has a line of its own
    """
    groups, names = ([label[part] for label in labels] for part in (0, 1))
    headings, rows = (groups, names) if _count_runs(groups) <= _count_runs(names) else (names, groups)
    last = None
    for heading, row, figure in zip(headings, rows, figures, strict=True):
        if heading != last:
            yield heading
        last, label = heading, f"  {row}"
        if len(label) >= width:
            yield label
            label = ""
        yield f"{label:{width}}{figure}"


def _count_runs(values: Sequence[str]) -> int:
    return sum(1 for _ in groupby(values))


def format_goals(goals: Sequence[Goal]) -> Iterator[str]:
    """Format every goal, with what was wanted and what was measured."""
    if goals:
        yield ""
        yield "goals"
    for goal in goals:
        yield from format_goal(goal)


def format_goal(goal: Goal, indent: str = "") -> list[str]:
    """Format a goal in lines of at most 80 columns, the further ones under its name."""
    return wrap_prose(indent + str(goal), indent + " " * len("MISSED "))


def format_commands(commands: Sequence[str]) -> Iterator[str]:
    """Format commands in lines of at most 80 columns that a shell reads as one; those with quotes stay as they are."""
    for command in commands:
        if {"'", '"'} & set(command):
            yield command
            continue
        lines = wrap_prose(command, "    ", WIDTH - len(" \\"))
        yield from (f"{line} \\" for line in lines[:-1])
        yield lines[-1]

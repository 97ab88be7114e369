"""Figures with their denominators and intervals: what every benchmark prints."""

from collections.abc import Iterator, Sequence

from imgaudit.schema.records import Count, Record
from imgaudit.statistics import auc, clopper_pearson


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
    """A figure that was aimed at, and whether it was reached."""

    name: str
    """The figure."""
    wanted: str
    """The target."""
    got: str
    """The figure measured."""
    met: bool
    """Whether it was reached."""

    def __str__(self) -> str:
        return f"{'met   ' if self.met else 'MISSED'} {self.name}: wanted {self.wanted}, got {self.got}"


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
    """Format one proportion per line."""
    yield f"{title:41}{'images':27}  k / n      rate   95 % interval"
    for one in rates:
        yield (
            f"{one.name:41}{one.group:27} {one.hits:3} / {one.n:<4} {one.rate:7.1%}   {one.low:.1%} to {one.high:.1%}"
        )


def format_separations(title: str, separations: Sequence[Separation], width: int, against: int) -> Iterator[str]:
    """Format one area under a curve per line, with columns of these widths for its name and what it is against."""
    yield title
    for one in separations:
        area = f"{one.auc:.3f}   {one.low:.3f} to {one.high:.3f}   {one.positives} / {one.negatives}"
        yield f"{one.name:{width}}{one.against:{against}}{area}"


def format_goals(goals: Sequence[Goal]) -> Iterator[str]:
    """Format one goal per line, with what was wanted and what was measured."""
    if goals:
        yield ""
        yield "goals"
    for goal in goals:
        yield str(goal)

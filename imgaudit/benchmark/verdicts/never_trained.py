"""Images that a lab was never trained on, by kind: where from, how portfolios draw them, which bank judges them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from imgaudit.benchmark.harness.cases import Group
from imgaudit.benchmark.harness.score_table import ControlRow, ControlTable, ScoreRow, ScoreTable
from imgaudit.benchmark.verdicts.portfolios import NEVER_TRAINED, Places
from imgaudit.schema.measures import NEAR_COPY_CORRELATION


@dataclass(frozen=True)
class NeverTrained:
    """A kind of image that the lab was never trained on, and how portfolios draw them."""

    name: str
    """In words."""
    rows: Sequence[ScoreRow]
    """The images."""
    families: Sequence[str]
    """Per row, what is resampled together by the bootstrap; one each when images are independent."""
    draw: Callable[[Places, np.random.Generator, int], Places]
    """From the places that a bootstrap sample left, places of (portfolios, images)."""
    bank: Sequence[ControlRow]
    """The controls they are judged by."""


def _independently(pool: Places, draw: np.random.Generator, portfolios: int) -> Places:
    return draw.choice(pool, (portfolios, NEVER_TRAINED))


def _in_copies(pool: Places, draw: np.random.Generator, portfolios: int) -> Places:
    """Ten images in four copies each: near-duplicates that were not grouped."""
    return np.repeat(draw.choice(pool, (portfolios, NEVER_TRAINED // 4)), 4, axis=1)


def _once_each(pool: Places, draw: np.random.Generator, portfolios: int) -> Places:
    """The same ten images, each group of copies one hypothesis."""
    return draw.choice(pool, (portfolios, NEVER_TRAINED // 4))


def _whole_series(families: Sequence[str]) -> Callable[[Places, np.random.Generator, int], Places]:
    """Whole series at random until a portfolio is full: images of one artist or theme resemble each other."""

    def draw_series(pool: Places, draw: np.random.Generator, portfolios: int) -> Places:
        members: dict[str, list[int]] = {}
        for place in pool:
            members.setdefault(families[place], []).append(int(place))
        names = sorted(members)
        drawn = []
        for _ in range(portfolios):
            chosen: list[int] = []
            while len(chosen) < NEVER_TRAINED:
                chosen += members[names[draw.integers(len(names))]]
            drawn.append(chosen[:NEVER_TRAINED])
        return np.array(drawn)

    return draw_series


def series_of(text: str) -> str:
    """Return what an image's caption says it belongs to: its last tag, by which corpora name theme or category.

    >>> series_of("hotel, icons, flat-theme")
    'flat-theme'
    """
    return text.rsplit(",", 1)[-1].strip()


def never_trained_kinds(table: ScoreTable, other: ControlTable | None = None) -> list[NeverTrained]:
    """The rows of the table of realised errors, as far as a lab has such images."""
    held_out, withheld, once = (table.of(g) for g in (Group.HELD_OUT, Group.WITHHELD, Group.SEEN_ONCE))
    each = [row.sha256 for row in held_out]
    kinds = [NeverTrained("held out", held_out, each, _independently, table.controls)]
    alone = [row for row in held_out if row.nearest_similarity < NEAR_COPY_CORRELATION]
    if len(alone) < len(held_out):
        hashes = [row.sha256 for row in alone]
        kinds.append(
            NeverTrained("held out, no near copy was trained on", alone, hashes, _independently, table.controls)
        )
    if withheld:
        hashes = [row.sha256 for row in withheld]
        kinds.append(NeverTrained("planted in the sibling only", withheld, hashes, _independently, table.controls))
    series = [series_of(row.text) for row in held_out]
    if len(set(series)) <= len(series) / 2:
        kinds.append(NeverTrained("held out, whole series", held_out, series, _whole_series(series), table.controls))
    kinds.append(NeverTrained("held out, four copies of each", held_out, each, _in_copies, table.controls))
    kinds.append(NeverTrained("held out, four copies grouped", held_out, each, _once_each, table.controls))
    if other is not None:
        kinds.append(NeverTrained(f"held out; bank of {other.note}", held_out, each, _independently, other.controls))
    if once:
        hashes = [row.sha256 for row in once]
        kinds.append(NeverTrained("seen once (not a null)", once, hashes, _independently, table.controls))
    return kinds

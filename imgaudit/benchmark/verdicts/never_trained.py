"""Images that a lab was never trained on, by kind: where from, how portfolios draw them, which bank judges them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from imgaudit.benchmark.harness.cases import Group
from imgaudit.benchmark.harness.score_table import ControlRow, ControlTable, ScoreRow, ScoreTable
from imgaudit.benchmark.verdicts.images import Images, Places
from imgaudit.benchmark.verdicts.portfolios import NEVER_TRAINED, Bank, Split, group_families, split_pool
from imgaudit.schema.measures import NEAR_COPY_CORRELATION

ANY, CLEAN_KIND, SIBLING = "never trained on", "no near copy was trained on", "planted in the sibling only"
"""Names of the kinds that a bank promises its level for."""

Draw = Callable[[Places, np.random.Generator, int], Places]
"""From places of images, draws portfolios: (portfolios, images)."""


@dataclass(frozen=True)
class NeverTrained:
    """A kind of image that the lab was never trained on, the banks that judge it, and how portfolios draw it."""

    name: str
    """The kind in words."""
    images: Images
    """The images that banks and portfolios come from, or only portfolios where `judged_by` gives the banks."""
    families: Sequence[str]
    """Per image, what is resampled together; one each where images are independent."""
    draw: Draw
    """Draws portfolios from the images that a bank leaves."""
    judged_by: Images | None = None
    """Images that banks come from, where they are others."""
    fixed: Bank | None = None
    """The only bank, where there is one."""
    searched: bool = False
    """True when scores were searched among sums of texts."""

    def splits(self, draw: np.random.Generator, count: int, *, bootstrap: bool = False) -> Iterator[Split]:
        """Yield banks with the places of the images that each judges, `count` of them at random."""
        for _ in range(count):
            if self.fixed is None and self.judged_by is None:
                yield split_pool(self.images, self._members, draw, bootstrap=bootstrap, searched=self.searched)
                continue
            bank = self.fixed
            if bank is None and self.judged_by is not None:
                bank = split_pool(self.judged_by, self._judges, draw, bootstrap=bootstrap, searched=self.searched).bank
            assert bank is not None
            yield Split(bank, self._resample(draw) if bootstrap else np.arange(len(self.images)))

    def _resample(self, draw: np.random.Generator) -> Places:
        members = self._members
        return np.concatenate([members[one] for one in draw.integers(len(members), size=len(members))])

    @cached_property
    def _members(self) -> list[Places]:
        return group_families(self.families)

    @cached_property
    def _judges(self) -> list[Places]:
        return group_families([str(place) for place in range(0 if self.judged_by is None else len(self.judged_by))])


def _independently(pool: Places, draw: np.random.Generator, portfolios: int) -> Places:
    return draw.choice(pool, (portfolios, NEVER_TRAINED))


def _in_copies(pool: Places, draw: np.random.Generator, portfolios: int) -> Places:
    """Ten images in four copies each: near-duplicates that were not grouped."""
    return np.repeat(draw.choice(pool, (portfolios, NEVER_TRAINED // 4)), 4, axis=1)


def _once_each(pool: Places, draw: np.random.Generator, portfolios: int) -> Places:
    """The same ten images, each group of copies one hypothesis."""
    return draw.choice(pool, (portfolios, NEVER_TRAINED // 4))


def _whole_series(families: Sequence[str]) -> Draw:
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


def pool_of(table: ScoreTable) -> list[ScoreRow | ControlRow]:
    """List a lab's images that were never trained on: the controls and the held-out images that were measured."""
    return [*table.controls, *table.of(Group.HELD_OUT)]


def is_searched(table: ScoreTable) -> bool:
    """Say whether a table's scores were searched among sums of texts."""
    return table.protocol.span is not None


def never_trained_kinds(table: ScoreTable, other: ControlTable | None = None) -> list[NeverTrained]:
    """Return the rows of the table of realised errors, as far as a lab has such images."""
    rows = pool_of(table)
    pool, each = Images.of(rows), [row.sha256 for row in rows]
    kinds = [NeverTrained(ANY, pool, each, _independently)]
    alone = np.flatnonzero(~(pool.nearest >= NEAR_COPY_CORRELATION))
    if len(alone) < len(rows):
        hashes = [each[place] for place in alone]
        kinds.append(NeverTrained(CLEAN_KIND, pool.at(alone), hashes, _independently))
    if withheld := table.of(Group.WITHHELD):
        hashes = [row.sha256 for row in withheld]
        images = Images.of(withheld)
        kinds.append(NeverTrained(SIBLING, images, hashes, _independently, judged_by=pool))
    series = [series_of(row.text) for row in rows]
    if len(set(series)) <= len(series) / 2:
        kinds.append(NeverTrained("whole series", pool, series, _whole_series(series)))
    kinds.append(NeverTrained("four copies of each", pool, each, _in_copies))
    kinds.append(NeverTrained("four copies grouped", pool, each, _once_each))
    if other is not None:
        held_out = table.of(Group.HELD_OUT)
        kept = Images.of([one for one in other.controls if one.kept_out])
        bank = Bank(kept, Images.of([one for one in other.controls if not one.kept_out]), is_searched(table))
        hashes = [row.sha256 for row in held_out]
        kinds.append(NeverTrained(f"bank of {other.note}", Images.of(held_out), hashes, _independently, fixed=bank))
    if once := table.of(Group.SEEN_ONCE):
        hashes = [row.sha256 for row in once]
        images = Images.of(once)
        kinds.append(NeverTrained("seen once (not a null)", images, hashes, _independently, judged_by=pool))
    return [replace(kind, searched=is_searched(table)) for kind in kinds]

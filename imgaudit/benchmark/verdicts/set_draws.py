"""Sets of works drawn from what a lab's images scored, each with controls of its own, and their p-values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from imgaudit.benchmark.harness.cases import Group
from imgaudit.benchmark.searches.table import CAPTION, SearchRow, SearchTable
from imgaudit.benchmark.verdicts.images import Floats, Places
from imgaudit.decision.set_level import count_by_legs, rank_together
from imgaudit.exceptions import InputError

CONTROLS = 240
"""Controls of every set, as many as count in a bank of 320."""

PERMUTATIONS = 199
"""Permutations per set. A test is valid with any number; audits draw more, which tells slightly more sets."""

TOGETHER = 25
"""Sets that share their permutations. Few, because what a draw of permutations errs is the same for all of them."""

FEW_REPEATS = 15
"""Images repeated up to so often are kinds of their own."""


@dataclass(frozen=True)
class LabScores:
    """What the images of one lab scored: legs in columns, the score that audits use and that under the caption."""

    lab: str
    """Lab model."""
    held_out: Floats
    """(images, 2): never trained on; none of them has a part in how scores are adjusted."""
    kinds: dict[str, Floats]
    """(images, 2) by kind: images that were trained on."""
    sha256s: Sequence[str]
    """First 16 hexadecimal digits of the held-out images."""

    @classmethod
    def of(cls, table: SearchTable) -> "LabScores":
        """Take the scores of a table. Raises InputError when it lacks some, or images that were never trained on."""
        names = (table.audited, CAPTION)
        if lacking := [name for name in names if name not in table.evaluations]:
            raise InputError(f"the table of lab {table.lab!r} has no scores by {' and '.join(lacking)}: measure again")
        legs = [table.score(name) for name in names]

        def values(rows: Sequence[SearchRow]) -> Floats:
            return np.array([[leg(row) for leg in legs] for row in rows], dtype=float).reshape(len(rows), 2)

        unseen = [*table.bank, *table.of(Group.HELD_OUT)]
        if len(unseen) <= CONTROLS:
            raise InputError(
                f"lab {table.lab!r} has {len(unseen)} images that were never trained on, and {CONTROLS} controls and "
                "the works of a set are drawn from them: measure more"
            )
        planted = table.of(Group.MEMORISED, Group.PLANTED_NOT_REPRODUCED)
        few = sorted({row.repeats for row in planted if row.repeats <= FEW_REPEATS})
        kinds = {
            str(Group.SEEN_ONCE): table.of(Group.SEEN_ONCE),
            **{f"{count} repeats": [row for row in planted if row.repeats == count] for count in few},
            str(Group.MEMORISED): table.of(Group.MEMORISED),
        }
        found = {name: values(rows) for name, rows in kinds.items() if rows}
        return cls(table.lab, values(unseen), found, [row.sha256 for row in unseen])


class Draw(NamedTuple):
    """One set and its controls, as places."""

    works: Places
    """Places of the works."""
    controls: Places
    """Places of the controls among the held-out images."""


def draw_innocent(held_out: int, size: int, draw: np.random.Generator) -> Draw:
    """Draw works and controls from the same held-out images, none of which is both."""
    order = draw.permutation(held_out)
    return Draw(order[CONTROLS : CONTROLS + size], order[:CONTROLS])


def draw_trained(pool: Places, held_out: int, size: int, draw: np.random.Generator) -> Draw:
    """Draw works from a pool of places of images that were trained on, and controls from the held-out images."""
    return Draw(draw.permutation(pool)[:size], draw.permutation(held_out)[:CONTROLS])


def draw_series(families: Sequence[str], size: int, draw: np.random.Generator) -> Draw:
    """Draw whole series as works until a set is full, and controls from all other series."""
    names, chosen = np.array(families), np.empty(0, dtype=np.int64)
    for name in draw.permutation(sorted(set(families))):
        if len(chosen) >= size:
            break
        chosen = np.concatenate([chosen, np.flatnonzero(names == name)])
    others = np.flatnonzero(~np.isin(names, names[chosen]))
    return Draw(chosen[:size], draw.permutation(others)[:CONTROLS])


def count_p_values(works: Floats, held_out: Floats, draws: Sequence[Draw], seed: int) -> dict[bool, Floats]:
    """Return the p-values of sets of one size, with captions given (True) and withheld (False).

    works, held_out:  (images, legs), to which the places of works and of controls belong; without the leg of captions
                      nothing is returned for them
    """
    size, found = len(draws[0].works), dict[bool, list[Floats]]()
    for start in range(0, len(draws), TOGETHER):
        some = draws[start : start + TOGETHER]
        ranks = rank_together(
            np.stack([np.concatenate([works[one.works], held_out[one.controls]]) for one in some], axis=1)
        )
        # Captions are the last leg.
        legs = {True: 2, False: 1} if ranks.shape[2] > 1 else {False: 1}
        by_legs = count_by_legs(ranks, size, seed + start, list(legs.values()), PERMUTATIONS)
        for given, p_values in zip(legs, by_legs, strict=True):
            found.setdefault(given, []).append(p_values)
    return {given: np.concatenate(parts) for given, parts in found.items()}


def halve(images: int, draw: np.random.Generator, halves: int) -> list[Places]:
    """Return random halves of some images, as places."""
    return [draw.permutation(images)[: images // 2] for _ in range(halves)]


def estimate_interval(by_half: Floats, each: int) -> tuple[float, float]:
    """Return the 95 % interval of a rate over images, from its values in random halves of them.

    by_half:  (halves,) the share of sets that were told, of the sets drawn from each half
    each:     sets of each half

    Half of n images varies around the whole as n images vary around all such images: 1/(n/2) - 1/n = 1/n. So the
    variance over halves, less that of counting few sets in each, is the variance of the rate.
    """
    counted = (by_half * (1 - by_half)).mean() / max(1, each - 1)
    half_width = 1.96 * np.sqrt(max(0.0, by_half.var(ddof=1) - counted))
    mean = float(by_half.mean())
    return max(0.0, float(mean - half_width)), min(1.0, float(mean + half_width))

"""Coincidence: how often a generated image resembles an image it was not generated for, over all pairs of a folder."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from imgaudit.schema.measures import NEAR_COPY_CORRELATION

Similarities = npt.NDArray[np.float32] | npt.NDArray[np.float64]


class Others(NamedTuple):
    """Pairs of a generated image and an unrelated target or decoy, in numbers."""

    pairs: int
    """Number of unrelated pairs."""
    at_least: npt.NDArray[np.int64]
    """(targets,): number of unrelated pairs at least as similar as the target is to its own generated images."""


@dataclass(frozen=True)
class CrossMatches:
    """The generated images of one rung, compared with every target and every decoy.

    The matrix is read row by row and may lie on disk: a folder of 10,000 images has 100 million pairs.
    """

    ids: list[str]
    """Ids of the targets, in the order of the rows and of the first columns."""
    best: Similarities
    """(targets, targets + decoys): highest similarity of any image generated for row i to image j; -inf when none was
    scored."""
    groups: Sequence[Sequence[str]] = ()
    """Near-duplicates that count as one work: resembling a near copy of the target is no coincidence."""

    @cached_property
    def _place(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.ids)}

    @cached_property
    def _related(self) -> dict[int, list[int]]:
        """Rows of the same work, for every target that has near-duplicates."""
        works = [[self._place[name] for name in group if name in self._place] for group in self.groups]
        return {place: work for work in works for place in work}

    def _row(self, place: int) -> Similarities:
        """Return one row, with -inf for the target itself and for images of the same work."""
        row = np.array(self.best[place])
        row[self._related.get(place, [place])] = -np.inf
        row[place] = -np.inf
        return row

    def _rows(self) -> Iterator[Similarities]:
        for place in range(len(self.ids)):
            row = self._row(place)
            yield row[np.isfinite(row)]

    @cached_property
    def _others(self) -> Others:
        own = np.array([self.best[place, place] for place in range(len(self.ids))])
        order = np.argsort(own)
        reached = np.zeros(len(own) + 1, dtype=np.int64)
        pairs = 0
        for row in self._rows():
            pairs += len(row)
            # A pair at least as similar as the k smallest of the own similarities counts for these.
            reached += np.bincount(np.searchsorted(own[order], row, side="right"), minlength=len(reached))
        at_least = np.empty(len(own), dtype=np.int64)
        at_least[order] = reached[::-1].cumsum()[::-1][1:]
        return Others(pairs, at_least)

    @property
    def pairs(self) -> int:
        """Number of unrelated pairs."""
        return self._others.pairs

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._place

    def coincidence_p_value(self, image_id: str) -> float | None:
        """Return how often unrelated pairs are as similar as this image and its own generated images.

        p = (1 + unrelated pairs with best[i, j] >= best[id, id]) / (1 + unrelated pairs); None without any pair.
        It needs no controls and no further network evaluation. Pairs share images, so it is approximate.
        """
        place = self._place[image_id]
        if not self.pairs or not np.isfinite(self.best[place, place]):
            return None
        return (1 + int(self._others.at_least[place])) / (1 + self.pairs)

    def resembling(self, image_id: str) -> list[tuple[str, float]]:
        """List other targets that this one's generated images resemble more than they resemble it, closest first."""
        place = self._place[image_id]
        bound = max(float(self.best[place, place]), NEAR_COPY_CORRELATION)
        row = self._row(place)[: len(self.ids)]
        closer = [(self.ids[other], float(row[other])) for other in np.flatnonzero(row > bound)]
        return sorted(closer, key=lambda pair: -pair[1])

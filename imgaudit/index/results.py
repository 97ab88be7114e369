"""What a search found: columns of names and similarities, from which a query's matches are made when they are read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import NamedTuple, overload

from imgaudit.index.names import Names


class Match(NamedTuple):
    """A vector of the collection that is near a query."""

    id: str
    """Its name in the collection."""
    path: str
    """The file it was made from, or empty where only the vector was given."""
    similarity: float
    """Inner product of unit vectors, or the share of equal bits; higher is closer. Of a view, less its allowance."""
    view: str = ""
    """View of the query that matched, in words; empty where the query was searched as it is."""


@dataclass(frozen=True)
class Matches:
    """All matches of one query above a bound."""

    matches: list[Match]
    """Nearest first."""
    cut: bool
    """True when there were more matches than could be listed."""


class SearchResults(Sequence[list[Match]]):
    """The matches of every query, nearest first.

    Everything is looked up and checked already; only the objects are made when a query's matches are read, because for
    a quick search they would take longer than the names.

    >>> found = SearchResults(Names(["a", "b", "c"], ["", "", ""]), [0.9, 0.8, 0.7], [2, 3])
    >>> found[1]
    [Match(id='c', path='', similarity=0.7, view='')]
    """

    def __init__(self, names: Names, similarities: Sequence[float], stops: Sequence[int]) -> None:
        """stops:  per query, the row after its last"""
        self.names, self.similarities, self.stops = names, similarities, stops

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self.stops)

    def __iter__(self) -> Iterator[list[Match]]:
        matches = map(Match, self.names.ids, self.names.paths, self.similarities)
        return (list(islice(matches, stop - start)) for start, stop in pairwise([0, *self.stops]))

    @overload
    def __getitem__(self, query: int) -> list[Match]: ...

    @overload
    def __getitem__(self, query: slice) -> list[list[Match]]: ...

    def __getitem__(self, query: int | slice) -> list[Match] | list[list[Match]]:
        if isinstance(query, slice):
            return [self[number] for number in range(*query.indices(len(self)))]
        number = range(len(self))[query]
        rows = slice(self.stops[number - 1] if number else 0, self.stops[number])
        return list(map(Match, self.names.ids[rows], self.names.paths[rows], self.similarities[rows]))

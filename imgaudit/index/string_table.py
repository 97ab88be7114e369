"""Many short texts that are parts of a long one, cut out when they are read."""

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
import numpy.typing as npt


class Pieces(Sequence[str]):
    """Parts of a text, by where they begin and stop.

    >>> pieces = Pieces("onetwo", np.array([0, 3]), np.array([3, 6]))
    >>> pieces[1], list(pieces)
    ('two', ['one', 'two'])
    """

    def __init__(self, text: str, begins: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]) -> None:
        self.text, self.begins, self.stops = text, begins, stops

    def __len__(self) -> int:
        return len(self.begins)

    def __iter__(self) -> Iterator[str]:
        text = self.text
        return (text[begin:stop] for begin, stop in zip(self.begins.tolist(), self.stops.tolist(), strict=True))

    @overload
    def __getitem__(self, row: int) -> str: ...

    @overload
    def __getitem__(self, row: slice) -> "Pieces": ...

    def __getitem__(self, row: int | slice) -> "str | Pieces":
        if isinstance(row, slice):
            return Pieces(self.text, self.begins[row], self.stops[row])
        return self.text[int(self.begins[row]) : int(self.stops[row])]

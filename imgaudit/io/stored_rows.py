"""Arrays of one shape in a temporary file: what a large run has too many of for memory."""

from collections.abc import Sequence
from typing import IO, Generic, TypeVar, overload

import numpy as np
import numpy.typing as npt

T = TypeVar("T", bound=np.generic)


class StoredRows(Generic[T]):
    """The rows of an array, read from a file whenever they are asked for.

    >>> import tempfile
    >>> with tempfile.TemporaryFile() as file:
    ...     rows = StoredRows(file, (2,), np.float32)
    ...     rows.append(np.array([[1, 2], [3, 4]], dtype=np.float32))
    ...     len(rows), rows[1].tolist(), rows[[1, 0]].tolist(), rows[:1].tolist()
    (2, [3.0, 4.0], [[3.0, 4.0], [1.0, 2.0]], [[1.0, 2.0]])
    """

    def __init__(self, file: IO[bytes], shape: tuple[int, ...], dtype: type[T]) -> None:
        """Hold no row yet.

        file:   an empty file, open to be read and written; nothing else moves in it
        shape:  of one row
        """
        self._file, self._shape, self._dtype = file, shape, np.dtype(dtype)
        self._size = self._dtype.itemsize * int(np.prod(shape))
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, rows: npt.NDArray[T]) -> None:
        """Add rows (n, *shape) at the end. Raises ValueError for others."""
        if rows.shape[1:] != self._shape or rows.dtype != self._dtype:
            expected = f"(n, {', '.join(map(str, self._shape))}) {self._dtype}"
            raise ValueError(f"expected {expected}, but got {rows.shape} {rows.dtype}")
        self._file.seek(self._count * self._size)
        self._file.write(np.ascontiguousarray(rows).tobytes())
        self._count += len(rows)

    @overload
    def __getitem__(self, place: int) -> npt.NDArray[T]: ...
    @overload
    def __getitem__(self, place: slice | Sequence[int]) -> npt.NDArray[T]: ...
    def __getitem__(self, place: int | slice | Sequence[int]) -> npt.NDArray[T]:
        if isinstance(place, int):
            return self._read(range(self._count)[place], 1).reshape(self._shape)
        if isinstance(place, slice):
            start, stop, step = place.indices(self._count)
            if step == 1:
                return self._read(start, max(0, stop - start))
            place = range(start, stop, step)
        return np.concatenate([self[one][None] for one in place]) if len(place) else self._read(0, 0)

    def _read(self, start: int, count: int) -> npt.NDArray[T]:
        self._file.seek(start * self._size)
        # A copy, as what is read cannot be written to, which torch warns of.
        rows: npt.NDArray[T] = np.frombuffer(self._file.read(count * self._size), self._dtype).copy()
        return rows.reshape(count, *self._shape)

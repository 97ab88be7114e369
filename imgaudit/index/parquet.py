"""Parquet files with a column of vectors and a column of ids, read in batches."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from imgaudit.exceptions import InputError


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open one. Raises InputError when it is damaged or something else."""
    try:
        return pq.ParquetFile(path, memory_map=True)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"the Parquet file {str(path)!r} cannot be read: {error}") from error


class ParquetVectors:
    """The vectors of a Parquet file.

    vector_column:  a column of lists of numbers of one length; the only such column when left out
    id_column:      a column of texts or whole numbers; `id` when left out and there is one, else rows are numbered
    """

    def __init__(self, path: Path, vector_column: str = "", id_column: str = "") -> None:
        self.path = path
        self._file = open_parquet(path)
        schema = self._file.schema_arrow
        self.vector_column = vector_column or self._only_vectors(schema)
        self.id_column = id_column or ("id" if "id" in schema.names else "")
        for name in filter(None, (self.vector_column, self.id_column)):
            if name not in schema.names:
                raise InputError(f"{str(path)!r} has no column {name!r}, but {schema.names[:20]}")
        kind = schema.field(self.vector_column).type
        if not _is_vector(kind):
            raise InputError(f"the column {self.vector_column!r} of {str(path)!r} is no list of numbers, but {kind}")
        self.binary = pa.types.is_uint8(kind.value_type)
        self.count: int = self._file.metadata.num_rows
        if not self.count:
            raise InputError(f"{str(path)!r} holds no rows")
        self.columns = len(next(self.read(0, 1))[0][0])

    def _only_vectors(self, schema: pa.Schema) -> str:
        names = [field.name for field in schema if _is_vector(field.type)]
        if len(names) != 1:
            found = f"has columns {names[:10]} that could be" if names else "has no column that could be"
            raise InputError(f"{str(self.path)!r} {found} the vectors: say which with --vector-column")
        return str(names[0])

    def read(self, start: int, size: int) -> Iterator[tuple[npt.NDArray[np.generic], list[str] | None]]:
        """Yield vectors and ids from row `start` on, `size` at a time."""
        groups, passed = list[int](), 0
        for number in range(self._file.num_row_groups):
            rows = self._file.metadata.row_group(number).num_rows
            if passed + rows > start or groups:
                groups.append(number)
            else:
                passed += rows
        columns = [self.vector_column, *([self.id_column] if self.id_column else [])]
        waiting: list[pa.RecordBatch] = []
        skip = start - passed
        try:
            for batch in self._file.iter_batches(batch_size=size, row_groups=groups, columns=columns):
                kept, skip = batch.slice(min(skip, batch.num_rows)), max(0, skip - batch.num_rows)
                waiting.append(kept)
                # Batches are cut where row groups end; blocks must be cut at the same places whatever `start` is.
                while sum(one.num_rows for one in waiting) >= size:
                    table = pa.Table.from_batches(waiting)
                    yield self._values(table.slice(0, size))
                    waiting = table.slice(size).to_batches()
            if sum(one.num_rows for one in waiting):
                yield self._values(pa.Table.from_batches(waiting))
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"the Parquet file {str(self.path)!r} cannot be read: {error}") from error

    def _values(self, table: pa.Table) -> tuple[npt.NDArray[np.generic], list[str] | None]:
        column = table.column(self.vector_column).combine_chunks()
        flat = column.flatten()
        if column.null_count or flat.null_count or len(flat) % max(1, len(column)):
            raise InputError(f"the column {self.vector_column!r} of {str(self.path)!r} has rows without a whole vector")
        lengths = column.value_lengths().to_numpy(zero_copy_only=False) if len(column) else np.zeros(0)
        if len(set(lengths.tolist())) > 1:
            raise InputError(
                f"the column {self.vector_column!r} of {str(self.path)!r} has vectors of different lengths"
            )
        vectors = flat.to_numpy(zero_copy_only=False).reshape(len(column), -1)
        if not self.id_column:
            return vectors, None
        return vectors, ["" if one is None else str(one) for one in table.column(self.id_column).to_pylist()]


def _is_vector(kind: pa.DataType) -> bool:
    listed = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(listed) and bool(pa.types.is_floating(kind.value_type) or pa.types.is_uint8(kind.value_type))

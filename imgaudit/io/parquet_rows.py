"""Rows of an untrusted Parquet table, within bounds: texts and numbers, without the pictures that many hold as well."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imgaudit.exceptions import InputError
from imgaudit.io.reading import format_path, read_bounded

MAX_ROWS = 5_000_000
"""Tables with more rows are refused."""

MAX_UNPACKED_BYTES = 1024 * 1024 * 1024
"""Tables whose texts and numbers unpack to more are refused: a small file can hold a very large one."""


def read_parquet_rows(path: Path, limit: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number of every row, from 1, and its texts and numbers by column.

    limit:  bytes that the file may have at most
    Raises InputError for a file that is no Parquet table or too large.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = format_path(path.name)
    try:
        file = pq.ParquetFile(pa.BufferReader(read_bounded(path, limit)))
        kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_primitive)
        plain = [column.name for column in file.schema_arrow if any(is_kind(column.type) for is_kind in kinds)]
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        columns = [group.column(number) for group in groups for number in range(group.num_columns)]
        size = sum(column.total_uncompressed_size for column in columns if column.path_in_schema in plain)
        if file.metadata.num_rows > MAX_ROWS or size > MAX_UNPACKED_BYTES:
            raise InputError(f"has {file.metadata.num_rows:,} rows of {size:,} bytes, which is too much to read")
        number = 0
        for batch in file.iter_batches(batch_size=1024, columns=plain):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except InputError as error:
        raise InputError(f"the table {name!r} {error}") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{name}: is not a Parquet table that can be read ({str(error)[:200]})") from error

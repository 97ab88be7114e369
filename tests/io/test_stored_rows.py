"""Rows in a file, against the array that they come from."""

import tempfile
from collections.abc import Iterator

import numpy as np
import pytest

from imgaudit.io.stored_rows import StoredRows


@pytest.fixture
def rows() -> Iterator[StoredRows[np.uint8]]:
    with tempfile.TemporaryFile() as file:
        yield StoredRows(file, (2, 3), np.uint8)


def test_rows_are_read_as_from_an_array(rows: StoredRows[np.uint8]) -> None:
    whole = np.random.default_rng(0).integers(0, 256, (9, 2, 3), dtype=np.uint8)
    rows.append(whole[:4])
    assert rows[2:].shape == (2, 2, 3)
    rows.append(whole[4:5])
    rows.append(whole[5:].transpose(0, 1, 2)[:, :, ::-1][:, :, ::-1])
    assert len(rows) == 9
    for place in (0, 8, -1, slice(None), slice(2, 5), slice(7, 99), slice(5, 2), slice(0, 9, 4), slice(None, None, -1),
                  [3, 1, 3], [-1]):  # fmt: skip
        np.testing.assert_array_equal(rows[place], whole[place])  # type: ignore[index]
    assert rows[[]].shape == (0, 2, 3) and rows[1:2].flags.writeable
    with pytest.raises(IndexError):
        rows[9]


def test_nothing_is_read_from_none(rows: StoredRows[np.uint8]) -> None:
    assert len(rows) == 0 and rows[:].shape == (0, 2, 3) and rows[:5].dtype == np.uint8


@pytest.mark.parametrize("wrong", [np.zeros((1, 3, 2), np.uint8), np.zeros((1, 2, 3), np.int8), np.zeros(6, np.uint8)])
def test_other_rows_are_refused(rows: StoredRows[np.uint8], wrong: np.ndarray) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match=r"expected \(n, 2, 3\) uint8, but got"):
        rows.append(wrong)
    assert len(rows) == 0

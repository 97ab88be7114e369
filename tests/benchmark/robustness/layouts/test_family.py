"""The matrix of layouts: no cell is read wrongly, and what the cells hold is what another library reads in them."""

import logging
from collections import Counter
from itertools import islice

import numpy as np
import pytest

from imgaudit.benchmark.robustness.layouts import family
from imgaudit.benchmark.robustness.layouts.family import (
    LAYOUTS,
    REFUSED,
    RIGHT,
    WRONG,
    goals,
    judge_cell,
    make_cells,
    read_layouts,
)
from imgaudit.benchmark.robustness.layouts.tiff_cells import make_tiff_cells
from imgaudit.benchmark.robustness.tally import Recorder


def test_no_layout_is_read_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    """One cell in forty; test_robustness.py has the whole matrix, by the command."""
    some = list(islice(make_cells(), 0, None, 40))
    monkeypatch.setattr(family, "make_cells", lambda: iter(some))
    recorder = Recorder()
    read_layouts(recorder)
    assert [problem for tally in recorder.tallies for problem in tally.problems] == []
    total = sum((Counter(tally.states) for tally in recorder.tallies), Counter[str]())
    assert set(total) == {RIGHT, REFUSED} and total.total() == len(some) > 75
    assert {tally.section for tally in recorder.tallies} == {LAYOUTS}
    assert all(goal.met for goal in goals(recorder.tallies)) and goals([]) == []


def test_a_cell_that_is_read_as_something_else_is_wrong() -> None:
    cell = next(cell for cell in make_cells() if judge_cell(cell)[0] == RIGHT)
    negative = type(cell)(cell.kind, cell.name, cell.data, 255 - cell.wanted)
    assert judge_cell(negative)[0] == WRONG


@pytest.mark.slow
def test_libvips_reads_the_same_pictures_in_the_cells() -> None:
    """An independent reader: the files say what the matrix says they do."""
    pyvips = pytest.importorskip("pyvips")
    logging.getLogger("pyvips").setLevel(logging.CRITICAL)
    compared = 0
    for cell in make_tiff_cells():
        plain = cell.kind in {"TIFF, grey", "TIFF, RGB", "TIFF, tiles"} and "alpha" not in cell.name
        if not plain or "extra" in cell.name or " bit i," in cell.name:
            continue
        try:
            picture = pyvips.Image.new_from_buffer(cell.data, "")
            values = picture.numpy().astype(np.float64)
        except pyvips.Error:
            continue
        if values.ndim == 2:
            values = values[..., None]
        top = {"uchar": 255, "ushort": 65535, "uint": 4294967295}.get(picture.format, 1)
        # libvips leaves floating point whose zero is white as it is, and mixes up planes of half floats, which
        # tifffile reads as the matrix says.
        if picture.format == "float" and (cell.name.startswith("white") or "16 bit f" in cell.name):
            continue
        distance = np.abs(values / top * 255 - cell.wanted).max()
        assert distance <= 2, f"{cell.name}: {distance:.0f} of 255"
        compared += 1
    assert compared > 200

"""The matrix of layouts put to the reader: every file is read rightly, or refused with a reason."""

from collections.abc import Iterator

import numpy as np

from imgaudit.benchmark.harness.figures import Goal, measure_rate
from imgaudit.benchmark.robustness.layouts.cell import Cell
from imgaudit.benchmark.robustness.layouts.other_cells import make_other_cells
from imgaudit.benchmark.robustness.layouts.tiff_cells import make_tiff_cells
from imgaudit.benchmark.robustness.tally import Recorder, Tally
from imgaudit.exceptions import ImageError
from imgaudit.io.images import decode_image

LAYOUTS = "layouts"
"""Name of the family and of its section."""

RIGHT, REFUSED, WRONG = "right", "refused", "wrong"


def make_cells() -> Iterator[Cell]:
    """Yield every file of the matrix that this machine can make."""
    yield from make_tiff_cells()
    yield from make_other_cells()


def judge_cell(cell: Cell) -> tuple[str, str]:
    """Return how the reader does with a file, and what it said or did wrong."""
    try:
        pixels = np.asarray(decode_image(cell.data).pixels, dtype=np.float64)
    except ImageError as error:
        return REFUSED, str(error)
    if pixels.shape != cell.wanted.shape:
        return WRONG, f"has the shape {pixels.shape}, not {cell.wanted.shape}"
    distance = np.abs(pixels - cell.wanted)
    off = float(distance.mean() if cell.lossy else distance.max())
    return (RIGHT, "") if off <= cell.tolerance else (WRONG, f"is off by {off:.0f} of 255")


def read_layouts(recorder: Recorder) -> None:
    """Try every file of the matrix, and count how it ends."""
    for cell in make_cells():
        state, reason = judge_cell(cell)
        problems = [f"{cell.name} {reason}"] if state == WRONG else []
        if state == REFUSED and len(reason) < 20:
            problems.append(f"{cell.name} is refused without a reason")
        recorder.count(LAYOUTS, cell.kind, state, problems)


def goals(tallies: list[Tally]) -> list[Goal]:
    """Return the goals of the family; none when it was not tried."""
    states = [
        state for tally in tallies if tally.section == LAYOUTS for state, n in tally.states.items() for _ in range(n)
    ]
    if not states:
        return []
    wrong = measure_rate("layouts", WRONG, [state == WRONG for state in states])
    refused = measure_rate("layouts", REFUSED, [state == REFUSED for state in states])
    read = measure_rate("layouts", RIGHT, [state == RIGHT for state in states])
    return [
        Goal.exact("layouts read wrongly", "0", str(wrong), met=WRONG not in states),
        Goal.exact("layouts read rightly", "more than 0", str(read), met=RIGHT in states),
        Goal.exact("layouts refused", "all others", str(refused), met=WRONG not in states),
    ]

"""Scores of lab images at many budgets, one row per image and budget: a CSV that is committed with a lab.

Every statistic over budgets (designs, budget curve, frontier) is computed from such rows alone, without a model.
"""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from pydantic import TypeAdapter

from imgaudit.benchmark.harness.cases import Group, group_of
from imgaudit.benchmark.harness.figures import (
    MeasuredRate,
    Separation,
    label_rows,
    measure_rate,
    measure_separation,
)
from imgaudit.benchmark.harness.procedure import OnStage, Procedure
from imgaudit.benchmark.settings import Settings
from imgaudit.exceptions import InputError
from imgaudit.lab.description import LabImage
from imgaudit.schema.records import Record
from imgaudit.statistics import conformal_p_value

if TYPE_CHECKING:
    from imgaudit.benchmark.budgets.trajectories import Trajectories

WINDOW = 8
"""Own log ratios average over the draws of this many last steps."""

NEAREST = "nearest sample"
"""The score of rows that say how near a sample comes to its image."""

Use = Literal["bank", "measured"]

S = TypeVar("S", bound=Settings)
R = TypeVar("R")


class BudgetRow(NamedTuple):
    """One image under one design at one budget."""

    design: str
    """Name of the design or of the published protocol."""
    score: str
    """Which score: "own" or "fresh" log ratio, "best similarity", ..."""
    steps: int
    """Inversion steps."""
    evaluations: int
    """Network evaluations per image that this score needed; a backward pass counts as one more."""
    sha256: str
    """First 16 hexadecimal digits of the image."""
    group: Group
    """Truth, by the lab."""
    repeats: int
    """Planted repeat count."""
    reproduced: int
    """Seeds of 64 in the lab's own measurement."""
    use: Use
    """Whether the image is a control or is measured."""
    value: float
    """The score; higher = more memorised."""


_ROWS = TypeAdapter(list[BudgetRow])


def write_rows(rows: Sequence[BudgetRow], path: Path) -> None:
    """Write as CSV; scores keep six significant digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(BudgetRow._fields)
        writer.writerows([*row[:-1], f"{row.value:.6g}"] for row in rows)


def read_rows(path: Path) -> list[BudgetRow]:
    """Read what `write_rows` wrote. Raises InputError for another table."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != list(BudgetRow._fields):
            raise InputError(
                f"{str(path)!r} is not a budget table: expected the columns {', '.join(BudgetRow._fields)}"
            )
        return _ROWS.validate_python(list(reader))


def trajectory_rows(
    design: str, recorded: "Trajectories", images: Mapping[str, LabImage], bank: frozenset[str]
) -> Iterator[BudgetRow]:
    """Rows of one recording: at every snapshot the log ratio on the last steps' own draws, and on fresh ones.

    bank:  SHA-256 of the images that are controls
    """
    draws, fresh = recorded.config.draws, recorded.fresh_null.shape[1]
    for steps in recorded.snapshots.tolist():
        inversion = 2 * draws * steps
        values = {
            ("own", inversion + draws * min(WINDOW, steps)): recorded.own_log_ratio(steps, WINDOW),
            ("fresh", inversion + 2 * fresh): recorded.fresh_log_ratio(steps),
        }
        for (score, evaluations), scores in values.items():
            for sha256, value in zip(recorded.sha256s, scores.tolist(), strict=True):
                yield budget_row(design, score, steps, evaluations, images[sha256], sha256 in bank, value)


def budget_row(
    design: str, score: str, steps: int, evaluations: int, image: LabImage, is_control: bool, value: float
) -> BudgetRow:
    """One row of one image."""
    return BudgetRow(
        design, score, steps, evaluations, image.sha256[:16], group_of(image), image.repeats, image.reproduced,
        "bank" if is_control else "measured", value,
    )  # fmt: skip


class BudgetPoint(Record):
    """How well one design separates at one budget."""

    design: str
    """Name of the design or of the published protocol."""
    score: str
    """Which score."""
    steps: int
    """Inversion steps."""
    evaluations: int
    """Network evaluations per image."""
    held_out: Separation | None
    """Memorised against held out."""
    seen_once: Separation | None
    """Memorised against seen once."""
    faint: Separation | None
    """Planted but not memorised, against held out: the hard part of the dose curve."""
    controls: int
    """Controls that give p-values; 0 = none."""
    detected: list[MeasuredRate]
    """Memorised with p at most 1 % and 5 %; empty without controls."""
    false: list[MeasuredRate]
    """Held out with p at most 1 % and 5 %; empty without controls."""


LEVELS = (0.01, 0.05)

LABEL = 18
"""Columns for the name of a score."""

MEMORISED, FAINT = "memorised", "faint"
"""Heads of the two areas."""


def budget_points(rows: Sequence[BudgetRow]) -> list[BudgetPoint]:
    """One point per design, score and budget, in the order in which they first occur."""
    points = []
    for (design, score, steps, evaluations), own in groupby(_together(rows), key=_point_of):
        group = list(own)
        bank = [row.value for row in group if row.use == "bank"]
        values: dict[Group, list[float | None]] = {
            name: [row.value for row in group if row.use == "measured" and row.group is name] for name in Group
        }
        memorised, held_out = values[Group.MEMORISED], values[Group.HELD_OUT]

        def rates(name: str, scores: Sequence[float | None], bank: Sequence[float] = bank) -> list[MeasuredRate]:
            p_values = [conformal_p_value(value, bank) for value in scores if value is not None]
            return (
                [measure_rate(f"p <= {level:g}", name, [p <= level for p in p_values]) for level in LEVELS]
                if bank
                else []
            )

        points.append(
            BudgetPoint(
                design=design,
                score=score,
                steps=steps,
                evaluations=evaluations,
                held_out=measure_separation(score, Group.HELD_OUT, memorised, held_out),
                seen_once=measure_separation(score, Group.SEEN_ONCE, memorised, values[Group.SEEN_ONCE]),
                faint=measure_separation(score, Group.HELD_OUT, values[Group.PLANTED_NOT_REPRODUCED], held_out),
                controls=len(bank),
                detected=rates(Group.MEMORISED, memorised),
                false=rates(Group.HELD_OUT, held_out),
            )
        )
    return points


def _point_of(row: BudgetRow) -> tuple[str, str, int, int]:
    return row.design, row.score, row.steps, row.evaluations


def _together(rows: Sequence[BudgetRow]) -> list[BudgetRow]:
    """Rows of one point next to each other, points in order of their first row."""
    first: dict[tuple[str, str, int, int], int] = {}
    for number, row in enumerate(rows):
        first.setdefault(_point_of(row), number)
    return sorted(rows, key=lambda row: first[_point_of(row)])


def format_points(points: Sequence[BudgetPoint]) -> Iterator[str]:
    """Format one score at one budget per line under its design, with rates of p-values where there are controls.

    Lines have at most 80 columns.
    """
    shown = [point for point in points if point.score != NEAREST]
    calibrated, graded = any(point.controls for point in shown), any(point.faint for point in shown)
    yield "steps: of inversion; evals: network evaluations for each image"
    yield "areas under the ROC curve (AUC), with 95 % interval and numbers of images:"
    yield f"  {MEMORISED}: memorised images against held-out ones"
    if calibrated:
        yield "found: memorised images with p <= 0.05; false: held-out ones"
    elif graded:
        yield f"  {FAINT}: images that were planted and not memorised, against held-out ones"
    yield ""
    tail = "found      false" if calibrated else FAINT if graded else ""
    yield f"{'score':{LABEL}}{'steps':>5}{'evals':>7}  {MEMORISED:25}{tail}".rstrip()
    labels = [(point.design, point.score) for point in shown]
    yield from label_rows(labels, [_format_point(point, calibrated, graded) for point in shown], LABEL)


def _format_point(point: BudgetPoint, calibrated: bool, graded: bool) -> str:
    tail = _format_rates(point) if calibrated else _format_area(point.faint) if graded else ""
    return f"{point.steps:5}{point.evaluations:7}  {_format_area(point.held_out):25}{tail}".rstrip()


def _format_area(found: Separation | None) -> str:
    if found is None:
        return "-"
    return f"{found.auc:.3f} {found.low:.3f}-{found.high:.3f} {found.positives}/{found.negatives}"


def _format_rates(point: BudgetPoint) -> str:
    rates = zip(point.detected[-1:], point.false[-1:], strict=True)
    return next((f"{d.hits}/{d.n} {d.rate:.0%}".ljust(11) + f"{f.hits}/{f.n} {f.rate:.1%}" for d, f in rates), "-")


def budget_procedure(
    measure: Callable[[S, OnStage], list[BudgetRow]],
    report: Callable[[Sequence[BudgetRow]], R],
    lines: Callable[[R], Iterator[str]],
) -> Procedure[S, list[BudgetRow], R]:
    """Make the procedure of a benchmark whose table has a row per image and budget."""
    return Procedure(measure, read_rows, write_rows, lambda rows, _: report(rows), lambda found, _: lines(found))

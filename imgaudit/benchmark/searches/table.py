"""Tables of searches: the scores of every image of a lab under every way to search its condition."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from imgaudit.benchmark.harness.cases import Group
from imgaudit.benchmark.harness.table import Table
from imgaudit.exceptions import InputError
from imgaudit.schema.baseline import Baseline
from imgaudit.schema.funnel import FirstLookConfig
from imgaudit.schema.protocol import SpanConfig
from imgaudit.schema.records import Record
from imgaudit.statistics import LinearFit, fit_line

INVERSION, TEXTS, CAPTION = "inversion", "texts", "own caption"
"""Searches that are measured: within the inversion, in the span of texts, and none, under the image's own caption."""


AUDITED_LOOK = FirstLookConfig()
"""The first look that funnels take."""

LOOKS = tuple(
    FirstLookConfig(search=search, draws=draws) for search in (0.125, 0.25, 0.5, 1.0) for draws in (8, 16, 32)
)  # fmt: skip
"""First looks that are tried."""


def name_look(look: FirstLookConfig) -> str:
    """Return the name of a first look: after which share of the score's search, and on how many draws.

    >>> name_look(FirstLookConfig(search=0.25, draws=16))
    '25% of the search, 16 draws'
    """
    return f"{100 * look.search:g}% of the search, {look.draws} draws"


class SearchRow(Record):
    """One image under every search."""

    sha256: str
    """First 16 hexadecimal digits of the file's."""
    group: Group
    """Truth, by the lab."""
    repeats: int
    """Planted repeat count."""
    use: Literal["fit", "bank", "measured"]
    """fit: a control that only fits scores on complexity. bank: a control that p-values count."""
    complexity: float
    """log(PNG bytes per pixel)."""
    log_ratios: dict[str, float]
    """Mean log(baseline error / conditional error) by search, or a published method's own score; higher = more
    memorised. A method that was not tried on this image is left out."""
    looks: dict[str, tuple[float, float]] = Field({}, exclude_if=lambda value: not value)
    """First looks by `name_look`: log ratio, and that under the image's caption; none where they were not measured."""


class SearchTable(Table):
    """Every measured image of one lab."""

    long_lists = ("rows",)

    lab: str
    """Lab model."""
    pipeline: str
    """Class of its pipeline."""
    prediction_type: str
    """What its network predicts."""
    baseline: Baseline
    """The condition that errors are compared with."""
    model_fingerprint: str
    """Its weights."""
    seed: int
    """Run seed."""
    hardware: str
    """Machine, device and threads."""
    steps: int
    """Inversion steps before the score is measured."""
    draws: int
    """Draws per inversion step."""
    span: SpanConfig
    """The search in the span of texts."""
    evaluations: dict[str, int]
    """Network evaluations per image by search, the errors to compare with included."""
    rows: list[SearchRow]
    """In order of SHA-256."""

    @property
    def audited(self) -> str:
        """The search that an audit of such a model uses."""
        return TEXTS if self.prediction_type in self.span.prediction_types else INVERSION

    def score(self, search: str) -> Callable[[SearchRow], float | None]:
        """Return what gives the score of a row: its log ratio, less what complexity explains among the fit rows.

        Published methods have no controls of that kind; their score is taken as it is.
        """
        fitted = [row for row in self.rows if row.use == "fit" and search in row.log_ratios]
        line = (
            fit_line([row.complexity for row in fitted], [row.log_ratios[search] for row in fitted])
            if fitted
            else LinearFit(0.0, 0.0, 0)
        )

        def residual(row: SearchRow) -> float | None:
            return line.residual(row.log_ratios[search], row.complexity) if search in row.log_ratios else None

        return residual

    def of(self, *groups: Group) -> list[SearchRow]:
        """Measured rows of some groups."""
        return [row for row in self.rows if row.use == "measured" and row.group in groups]

    @property
    def bank(self) -> list[SearchRow]:
        """Controls that p-values count."""
        return [row for row in self.rows if row.use == "bank"]


def read_tables(path: Path) -> list[SearchTable]:
    """Read one table, or every *.json of a folder in order of their names. Raises InputError for anything else."""
    if not path.is_dir():
        return [SearchTable.read(path)]
    paths = sorted(path.glob("*.json"))
    if not paths:
        raise InputError(f"{str(path)!r} holds no table; expected files that `benchmark searches --save` wrote")
    return [SearchTable.read(one) for one in paths]


def write_tables(tables: Sequence[SearchTable], path: Path) -> None:
    """Write the one table that was measured."""
    [table] = tables
    table.write(path)


def searches_of(tables: Sequence[SearchTable]) -> Iterator[tuple[SearchTable, str]]:
    """Yield every table with each of its searches."""
    return ((table, search) for table in tables for search in table.evaluations)

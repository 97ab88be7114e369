"""How often sets are told from controls: images that were never trained on, and images that were, by size and kind."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from imgaudit.benchmark.harness.cases import Group
from imgaudit.benchmark.harness.figures import (
    Goal,
    MeasuredRate,
    Separation,
    format_goals,
    format_separations,
    label_rows,
    measure_rate,
    measure_separation,
)
from imgaudit.benchmark.harness.procedure import OnStage, Procedure
from imgaudit.benchmark.harness.score_table import ControlTable, ScoreTable
from imgaudit.benchmark.searches.table import SearchTable, read_tables, write_tables
from imgaudit.benchmark.set_settings import SetSettings
from imgaudit.benchmark.verdicts.images import Flags, Floats
from imgaudit.benchmark.verdicts.set_draws import (
    CONTROLS,
    PERMUTATIONS,
    LabScores,
    count_p_values,
    draw_innocent,
    draw_trained,
    estimate_interval,
    halve,
)
from imgaudit.benchmark.verdicts.unlike_sets import UnlikeRow, format_unlike, measure_unlike
from imgaudit.schema.records import Record
from imgaudit.schema.text import wrap_prose

LEVEL = 0.05
"""Level at which a set counts as told."""

INNOCENT_SIZES = (5, 20, 80)
"""Works of sets that were never trained on."""

SIZES = (5, 10, 15, 20, 30, 40)
"""Works of sets that were trained on."""

HALVES, EACH = 40, 25
"""Random halves of a kind of image, and sets drawn from each."""

SETS = HALVES * EACH
"""Sets of every row."""

WANTED = 0.8
"""Share of sets that should be told."""

CHOSE_THE_TEST = ("fit", "flow", "v")
"""Labs on which the test was chosen. No goal is judged on them."""


class SetRow(Record):
    """Sets of one size and kind."""

    lab: str
    """Lab model."""
    kind: str
    """Truth of the works, by the lab."""
    images: int
    """Images that the sets are drawn from."""
    works: int
    """Works of a set."""
    told: dict[bool, MeasuredRate]
    """Sets with p at or below the level, with captions given (True) and withheld (False). Of images that were trained
    on, the interval is one over images; where a set is more than half of them there is none, and it is 0 to 1."""


class SetReport(Record):
    """All tables of `imgaudit benchmark sets`."""

    seed: int
    """Seed of the draws."""
    level: float
    """Level at which a set counts as told."""
    sets: int
    """Sets of every row."""
    controls: int
    """Controls of every set."""
    permutations: int
    """Permutations per set."""
    separation: list[Separation]
    """Single images seen once against held out, by leg: what a set adds up."""
    innocent: list[SetRow]
    """Sets never trained on, in every respect like the controls."""
    trained: list[SetRow]
    """Sets that were trained on."""
    unlike: list[UnlikeRow]
    """Sets never trained on that are unlike their controls to begin with; empty without a table of detection."""
    targets: list[Goal]
    """Goals and outcomes."""


class _Found(NamedTuple):
    """What is computed of one lab."""

    separation: list[Separation]
    innocent: list[SetRow]
    trained: list[SetRow]


def _measure_innocent(lab: LabScores, draw: np.random.Generator) -> Iterator[SetRow]:
    count = len(lab.held_out)
    for size in INNOCENT_SIZES:
        if size > count - CONTROLS:
            break
        draws = [draw_innocent(count, size, draw) for _ in range(SETS)]
        p_values = count_p_values(lab.held_out, lab.held_out, draws, int(draw.integers(2**32)))
        told = {given: _rate(Group.HELD_OUT, p <= LEVEL) for given, p in p_values.items()}
        yield SetRow(lab=lab.lab, kind=Group.HELD_OUT, images=count, works=size, told=told)


def _rate(group: str, told: Flags) -> MeasuredRate:
    return measure_rate(f"p <= {LEVEL:g}", group, told.tolist())


def _measure_trained(lab: LabScores, kind: str, values: Floats, draw: np.random.Generator) -> Iterator[SetRow]:
    for size in SIZES:
        if size > len(values):
            break
        is_halved = 2 * size <= len(values)
        pools = halve(len(values), draw, HALVES) if is_halved else [np.arange(len(values))] * HALVES
        draws = [draw_trained(pool, len(lab.held_out), size, draw) for pool in pools for _ in range(EACH)]
        p_values = count_p_values(values, lab.held_out, draws, int(draw.integers(2**32)))
        told = {}
        for given, p in p_values.items():
            rate, by_half = _rate(kind, p <= LEVEL), (p <= LEVEL).reshape(HALVES, EACH).mean(axis=1)
            low, high = estimate_interval(by_half, EACH) if is_halved else (0.0, 1.0)
            # Never narrower than what so many sets can show of themselves.
            told[given] = rate.model_copy(update={"low": min(low, rate.low), "high": max(high, rate.high)})
        yield SetRow(lab=lab.lab, kind=kind, images=len(values), works=size, told=told)
        if all(one.rate == 1 for one in told.values()):
            break


def measure_sets(table: SearchTable, seed: int) -> _Found:
    """Draw sets of every kind and size from one lab. Raises InputError when it has too few images."""
    lab, draw = LabScores.of(table), np.random.default_rng(seed)
    separation = []
    once = lab.kinds.get(str(Group.SEEN_ONCE))
    for place, name in enumerate((table.audited, "own caption")):
        values = [] if once is None else once[:, place].tolist()
        area = measure_separation(name, lab.lab, values, lab.held_out[:, place].tolist())
        separation += [area] if area else []
    innocent = list(_measure_innocent(lab, draw))
    trained = [row for kind, values in lab.kinds.items() for row in _measure_trained(lab, kind, values, draw)]
    return _Found(separation, innocent, trained)


def report_sets(
    tables: Sequence[SearchTable],
    seed: int = 1,
    detection: ScoreTable | None = None,
    other: ControlTable | None = None,
) -> SetReport:
    """Compute all statistics; no model is needed.

    Raises InputError when a table has too few images, or the table of detection belongs to none of the labs.
    """
    found = [measure_sets(table, seed) for table in tables]
    innocent = [row for one in found for row in one.innocent]
    trained = [row for one in found for row in one.trained]
    return SetReport(
        seed=seed, level=LEVEL, sets=SETS, controls=CONTROLS, permutations=PERMUTATIONS,
        separation=[area for one in found for area in one.separation], innocent=innocent, trained=trained,
        unlike=measure_unlike(tables, detection, other, seed) if detection else [],
        targets=list(_judge_goals(innocent, trained)),
    )  # fmt: skip


def find_fewest(rows: Sequence[SetRow], *, captions: bool) -> int | None:
    """Return the fewest works from which on 80 % of sets are told, or None.

    rows:  of one lab and one kind
    """
    fewest = None
    for row in sorted(rows, key=lambda one: -one.works):
        if row.told[captions].rate < WANTED:
            break
        fewest = row.works
    return fewest


def _judge_goals(innocent: Sequence[SetRow], trained: Sequence[SetRow]) -> Iterator[Goal]:
    for lab in dict.fromkeys(row.lab for row in innocent if row.lab not in CHOSE_THE_TEST):
        for given in (True, False):
            told = [row.told[given] for row in innocent if row.lab == lab]
            hits, count = sum(one.hits for one in told), sum(one.n for one in told)
            rate = _rate(Group.HELD_OUT, np.arange(count) < hits)
            got = f"{rate.rate:.1%} ({rate.low:.1%} to {rate.high:.1%}, n {rate.n:,})"
            yield Goal.within_level(f"{lab}, held out, {_captions(given)}", rate, LEVEL, got=got)
    for row in trained:
        if row.lab not in CHOSE_THE_TEST and row.kind == Group.SEEN_ONCE and row.works == 30:
            yield Goal.at_least(f"{row.lab}, 30 seen once, {_captions(True)}", row.told[True], WANTED)


def _captions(given: bool) -> str:
    return "with captions" if given else "no captions"


LABEL, CELL = 27, 26
"""Columns in front of the rates, and for one rate."""


def format_sets(report: SetReport) -> Iterator[str]:
    """Format sets never trained on, sets that were, what single images show, and the goals.

    Lines have at most 80 columns.
    """
    yield from wrap_prose(
        f"seed {report.seed}; {report.sets:,} sets a row, each with {report.controls} controls of its own; a set is "
        f"told at p <= {report.level:.0%}, with {report.permutations} permutations. Intervals are 95 %: over sets of "
        "held-out images, else over images, and blank where a set is more than half of the images or they reach from "
        "0 to 1. Larger sets are left out once all are told."
    )
    yield ""
    yield "sets told, by lab and kind; in brackets the images that they are drawn from"
    yield f"{'kind (images)':{LABEL - 6}}{'works':>6}{'':2}{'captions given':{CELL}}captions withheld"
    for rows in (report.innocent, report.trained):
        yield from _format_rows(rows)
        yield ""
    yield "fewest works of which 80 % of the sets are told"
    yield from _format_fewest(report.trained)
    yield ""
    yield "single images, seen once against held out"
    yield from format_separations("", report.separation)
    if report.unlike:
        yield ""
        yield from format_unlike(report.unlike)
    yield from format_goals(report.targets)


def _format_rows(rows: Sequence[SetRow]) -> Iterator[str]:
    for lab, own in groupby(rows, key=lambda row: row.lab):
        yield lab
        for row in own:
            given, withheld = (_format_rate(row.told[captions]) for captions in (True, False))
            kind = f"  {row.kind} ({row.images})"
            yield f"{kind:{LABEL - 6}}{row.works:6}  {given:{CELL}}{withheld}".rstrip()


def _format_rate(told: MeasuredRate) -> str:
    known = (told.low, told.high) != (0.0, 1.0)
    return f"{told.rate:6.1%}" + (f" ({told.low:.1%} to {told.high:.1%})" if known else "")


def _format_fewest(rows: Sequence[SetRow]) -> Iterator[str]:
    cells = []
    kinds = list(dict.fromkeys((row.lab, row.kind) for row in rows))
    for lab, kind in kinds:
        own = [row for row in rows if (row.lab, row.kind) == (lab, kind)]
        told = (find_fewest(own, captions=captions) for captions in (True, False))
        most = max(row.works for row in own)
        given, withheld = (f"more than {most}" if one is None else str(one) for one in told)
        cells.append(f"  {given:{CELL}}{withheld}")
    yield from label_rows(kinds, cells, LABEL)


def _read(settings: SetSettings, on_stage: OnStage) -> list[SearchTable]:
    return read_tables(settings.table)


def _report(tables: Sequence[SearchTable], settings: SetSettings) -> SetReport:
    detection = ScoreTable.read(settings.detection) if settings.detection else None
    other = ControlTable.read(settings.other) if settings.other else None
    return report_sets(tables, settings.seed, detection, other)


PROCEDURE = Procedure[SetSettings, list[SearchTable], SetReport](
    _read, read_tables, write_tables, _report, lambda report, _: format_sets(report)
)

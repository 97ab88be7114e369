"""How well scores separate under every search: one table over all labs, and the goals of the one that audits use."""

from collections.abc import Iterator, Sequence

from imgaudit.benchmark.budgets.dori import DORI
from imgaudit.benchmark.harness.cases import Group
from imgaudit.benchmark.harness.figures import (
    Goal,
    MeasuredRate,
    Separation,
    format_goals,
    label_rows,
    measure_rate,
    measure_separation,
)
from imgaudit.benchmark.harness.procedure import Procedure
from imgaudit.benchmark.searches.looks import LookPoint, format_looks, report_looks
from imgaudit.benchmark.searches.measuring import measure_searches
from imgaudit.benchmark.searches.table import CAPTION, SearchTable, read_tables, searches_of, write_tables
from imgaudit.schema.records import Record
from imgaudit.statistics import conformal_p_value, newcombe

LEVELS = (0.05, 0.01)
CHOSE_THE_SEARCH = ("flow", "v")
"""Labs on which the search among texts was chosen. No goal is judged on them."""
CHEAPER = 4
"""Published methods must take at least this many times the network evaluations."""


class SearchPoint(Record):
    """How one search separates on one lab."""

    lab: str
    """Lab model."""
    pipeline: str
    """Class of its pipeline."""
    prediction_type: str
    """What its network predicts."""
    baseline: str
    """The condition that errors are compared with."""
    search: str
    """The search, or the published method."""
    audited: bool
    """True for the search that an audit of such a model uses."""
    evaluations: int
    """Network evaluations per image."""
    held_out: Separation | None
    """Memorised against held out."""
    seen_once: Separation | None
    """Memorised against seen once."""
    controls: int
    """Controls that give p-values."""
    detected: dict[float, MeasuredRate]
    """Memorised images with p at most a level, by level."""
    false: dict[float, MeasuredRate]
    """Held-out images with p at most a level."""
    once: dict[float, MeasuredRate]
    """Images seen once with p at most a level."""


class SearchReport(Record):
    """Every search on every lab, and the goals."""

    seeds: list[int]
    """Run seeds."""
    points: list[SearchPoint]
    """By lab, then by search."""
    looks: list[LookPoint]
    """First looks of every kind, for labs on which they were measured."""
    targets: list[Goal]
    """Goals and outcomes."""


def measure_point(table: SearchTable, search: str) -> SearchPoint:
    """Compute the statistics of one search on one lab."""
    score = table.score(search)
    bank = [value for row in table.bank if (value := score(row)) is not None]

    def values(group: Group) -> list[float | None]:
        return [score(row) for row in table.of(group)]

    def rates(group: Group) -> dict[float, MeasuredRate]:
        found = [conformal_p_value(value, bank) for value in values(group) if value is not None] if bank else []
        return {level: measure_rate(f"p <= {level:g}", group, [p <= level for p in found]) for level in LEVELS}

    memorised = values(Group.MEMORISED)
    return SearchPoint(
        lab=table.lab,
        pipeline=table.pipeline,
        prediction_type=table.prediction_type,
        baseline=table.baseline,
        search=search,
        audited=search == table.audited,
        evaluations=table.evaluations[search],
        held_out=measure_separation(search, Group.HELD_OUT, memorised, values(Group.HELD_OUT)),
        seen_once=measure_separation(search, Group.SEEN_ONCE, memorised, values(Group.SEEN_ONCE)),
        controls=len(bank),
        detected=rates(Group.MEMORISED),
        false=rates(Group.HELD_OUT),
        once=rates(Group.SEEN_ONCE),
    )


def report_searches(tables: Sequence[SearchTable]) -> SearchReport:
    """Compute all statistics; no model is needed."""
    points = [measure_point(table, search) for table, search in searches_of(tables)]
    return SearchReport(
        seeds=sorted({table.seed for table in tables}),
        points=points,
        looks=[one for table in tables for one in report_looks(table)],
        targets=[
            goal
            for table in tables
            if table.lab not in CHOSE_THE_SEARCH
            for goal in _goals([one for one in points if one.lab == table.lab])
        ],
    )


def _goals(points: Sequence[SearchPoint]) -> Iterator[Goal]:
    """State what is asked of the search that an audit uses, and of captions, on one lab."""
    ours = next(one for one in points if one.audited)
    name = f"{ours.lab}, {ours.search}"
    # A model without a null branch is asked less: its errors are compared with a prediction that is guided already.
    if ours.held_out:
        yield Goal.at_least(f"{name}: AUC", ours.held_out, 0.95 if ours.baseline == "null" else 0.9)
    for level, wanted in ((0.05, 0.9), (0.01, 0.7)):
        yield Goal.at_least(f"{name}: memorised with p <= {level:g}", ours.detected[level], wanted)
        yield Goal.within_level(f"{name}: held out with p <= {level:g}", ours.false[level], level)
    for one in points:
        if one.search == CAPTION and one.held_out:
            yield Goal.at_least(f"{one.lab}, {CAPTION}: AUC", one.held_out, 0.97)
        if one.search.startswith(DORI):
            yield _compare(ours, one)


def _compare(ours: SearchPoint, theirs: SearchPoint) -> Goal:
    """Ask for as many detections at p <= 0.05 as a published method's, for a quarter of its evaluations."""
    own, others = ours.detected[0.05], theirs.detected[0.05]
    difference = newcombe(others.hits, others.n, own.hits, own.n)
    ratio = theirs.evaluations / ours.evaluations
    return Goal.at_least(
        f"{ours.lab}: {ours.search} against {theirs.search}",
        difference,
        0.0 if ratio >= CHEAPER else 2.0,
        wanted=f"as many p <= 0.05, 1/{CHEAPER} of the evaluations",
        got=f"{own.rate:.3f} / {others.rate:.3f} ({difference.low:+.3f} to {difference.high:+.3f}), 1/{ratio:.1f}",
    )


LABEL = 25
"""Columns for the name of a search."""


def format_searches(report: SearchReport) -> Iterator[str]:
    """Format one search per line under its lab, then the goals. A star marks the search that an audit uses.

    Lines have at most 80 columns.
    """
    yield f"run seed {', '.join(map(str, report.seeds))}; intervals are 95 %; * the search that an audit uses"
    for lab in dict.fromkeys(one.lab for one in report.points):
        own = [one for one in report.points if one.lab == lab]
        yield ""
        yield f"{lab}: {own[0].pipeline}, predicts {own[0].prediction_type}, baseline {own[0].baseline}"
        yield f"{_counts(own[0])}, {own[0].controls} controls"
        yield from _format_lab(own)
        if looks := [one for one in report.looks if one.lab == lab]:
            yield from format_looks(looks)
    yield ""
    yield from _format_once([one for one in report.points if one.audited or one.search == CAPTION])
    if chose := [lab for lab in CHOSE_THE_SEARCH if any(one.lab == lab for one in report.points)]:
        yield ""
        yield f"no goal is judged on {' and '.join(chose)}: the search was chosen there"
    yield from format_goals(report.targets)


def _format_lab(points: Sequence[SearchPoint]) -> Iterator[str]:
    yield f"{'search':{LABEL}}{'evals':>6}  AUC, memorised against held out"
    for one in points:
        yield f"{_name(one)}{one.evaluations:6}  {_format_area(one.held_out)}"
    if calibrated := [one for one in points if one.controls]:
        yield f"{'share with p at most':{LABEL}}{'1%':>6}{'5%':>8}  {'memorised':16}5%, held out"
        yield from map(_format_shares, calibrated)


def _format_shares(point: SearchPoint) -> str:
    one, five, false = point.detected[0.01], point.detected[0.05], point.false[0.05]
    interval = f"({five.low:.0%} to {five.high:.0%})"
    return (
        f"{_name(point)}{one.rate:6.1%}{five.rate:8.1%}  {interval:16}"
        f"{false.hits}/{false.n} ({false.low:.1%} to {false.high:.1%})"
    )


def _format_once(points: Sequence[SearchPoint]) -> Iterator[str]:
    yield f"{'seen once in training':{LABEL}}p <= 5%  interval          AUC, memorised against them"
    rates = [one.once[0.05] for one in points]
    figures = [
        f"{rate.hits:3}/{rate.n:<4} {rate.low:5.1%} to {rate.high:6.1%}   {_format_area(one.seen_once)}"
        for one, rate in zip(points, rates, strict=True)
    ]
    yield from label_rows([(one.lab, one.search) for one in points], figures, LABEL)


def _name(point: SearchPoint) -> str:
    return f"{'*' if point.audited else ' '} {point.search}".ljust(LABEL)


def _format_area(area: Separation | None) -> str:
    return f"{area.auc:.3f} ({area.low:.3f}-{area.high:.3f})" if area else "-"


def _counts(point: SearchPoint) -> str:
    if point.held_out is None:
        return "no memorised images"
    once = point.seen_once.negatives if point.seen_once else 0
    return f"{point.held_out.positives} memorised, {point.held_out.negatives} held out, {once} seen once"


PROCEDURE = Procedure(
    measure_searches, read_tables, write_tables, lambda tables, _: report_searches(tables),
    lambda report, _: format_searches(report),
)  # fmt: skip

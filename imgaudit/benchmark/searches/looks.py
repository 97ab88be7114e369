"""First looks: what a funnel would save that begins with one, and which memorised images it would lose."""

from collections.abc import Iterator, Sequence

from imgaudit.benchmark.harness.cases import Group
from imgaudit.benchmark.harness.figures import MeasuredRate, measure_rate
from imgaudit.benchmark.harness.lab_work import LabWork
from imgaudit.benchmark.searches.table import (
    CAPTION,
    INVERSION,
    LOOKS,
    SearchRow,
    SearchTable,
    name_look,
)
from imgaudit.decision.funnel import Bounds, Values
from imgaudit.diffusion.denoising_error import PartialErrors, ScoreDraws
from imgaudit.diffusion.inversion import Inverter
from imgaudit.diffusion.span_search import SpanSearcher
from imgaudit.diffusion.text_span import TextSpan
from imgaudit.io.portfolio import Target
from imgaudit.schema.funnel import FirstLookConfig, FunnelConfig
from imgaudit.schema.protocol import ErrorConfig, InversionConfig, SpanConfig
from imgaudit.schema.records import Record, Rung

DIGITS = 6
"""Digits of a first look that a table keeps: ranks need no more, and a table has many."""

SHARES = (0.15, 0.25, 0.35)
"""Shares of images like the controls that are scored after their first look."""


class LookPoint(Record):
    """What one kind of first look saves and loses on one lab."""

    lab: str
    """Lab model."""
    captions: bool
    """True where captions are given."""
    search: float
    """Share of the score's search before it."""
    draws: int
    """Draws that it is measured on."""
    share: float
    """Share of images like the controls that are scored after it."""
    cost: float
    """Network evaluations of an image never trained on until it is scored or left out, over those of its score."""
    kept: MeasuredRate
    """Of the memorised images that the score lets through: those that the first look lets through too."""


def measure_looks(
    work: LabWork,
    chunk: Sequence[Target],
    inversion: InversionConfig,
    span: TextSpan | None,
    kinds: Sequence[FirstLookConfig],
) -> list[dict[str, tuple[float, float]]]:
    """Take first looks of some kinds at some images: log ratios without and with their captions, by name.

    span:   texts among which the condition is searched; None where it is inverted
    kinds:  those after a smaller share of the search first
    """
    denoiser, encoded = work.denoiser, work.encode(chunk)
    draws = ScoreDraws(
        denoiser, encoded.latents, encoded.sha256s, ErrorConfig(), run_seed=work.seed, executor=work.executor
    )  # fmt: skip
    search = (
        Inverter(
            denoiser, encoded.latents, encoded.sha256s, inversion, run_seed=work.seed, executor=work.executor
        )
        if span is None
        else SpanSearcher(
            denoiser, encoded.latents, encoded.sha256s, span, SpanConfig(), run_seed=work.seed, executor=work.executor
        )
    )  # fmt: skip
    steps = inversion.steps if span is None else SpanConfig().steps
    captions = denoiser.condition([target.texts[Rung.CAPTION][0] for target in chunk])
    of_captions = PartialErrors.none_yet(len(chunk), ErrorConfig().draws)
    found: list[dict[str, tuple[float, float]]] = [{} for _ in chunk]
    known = PartialErrors.none_yet(len(chunk), ErrorConfig().draws)
    for look in kinds:
        if search.steps < look.count_steps(steps):
            known = PartialErrors.none_yet(len(chunk), ErrorConfig().draws)
        while search.steps < look.count_steps(steps):
            search.step()
        places = look.choose_draws(ErrorConfig().draws)
        own = draws.measure(search.prompt_embeds, places, known).log_ratio().tolist()
        captioned = draws.measure(captions, places, of_captions).log_ratio().tolist()
        for looks, pair in zip(found, zip(own, captioned, strict=True), strict=True):
            looks[name_look(look)] = (round(pair[0], DIGITS), round(pair[1], DIGITS))
    return found


def report_looks(table: SearchTable) -> Iterator[LookPoint]:
    """Compute every kind of first look, from the most to the least sparing; nothing for a table without first looks.

    Bounds are placed by all controls of the table, which vary less than the few that an audit keeps out of its bank.
    """
    controls = [row for row in table.rows if row.use != "measured"]
    for captions in (True, False):
        score = _place(controls, FunnelConfig().share, None, captions, table)
        memorised = [row for row in table.of(Group.MEMORISED) if _passes(score, row, None, captions, table)]
        for look in LOOKS:
            name = name_look(look)
            if any(name not in row.looks for row in table.rows):
                continue
            for share in SHARES:
                bounds = _place(controls, share, name, captions, table)
                others = [_passes(bounds, row, name, captions, table) for row in table.of(Group.HELD_OUT)]
                yield LookPoint(
                    lab=table.lab, captions=captions, search=look.search, draws=look.draws, share=share,
                    cost=_count(table, look, sum(others) / max(1, len(others)), captions),
                    kept=measure_rate(
                        name, Group.MEMORISED, [_passes(bounds, row, name, captions, table) for row in memorised]
                    ),
                )  # fmt: skip


def _values(row: SearchRow, name: str | None, captions: bool, table: SearchTable) -> Values:
    own, caption = row.looks[name] if name else (row.log_ratios[table.audited], row.log_ratios[CAPTION])
    return Values(row.complexity, own, caption if captions else None)


def _place(rows: Sequence[SearchRow], share: float, name: str | None, captions: bool, table: SearchTable) -> Bounds:
    bounds = Bounds.place([_values(row, name, captions, table) for row in rows], share)
    assert bounds is not None
    return bounds


def _passes(bounds: Bounds, row: SearchRow, name: str | None, captions: bool, table: SearchTable) -> bool:
    return bounds.passes(_values(row, name, captions, table), captioned=captions)


def _count(table: SearchTable, look: FirstLookConfig, passing: float, captions: bool) -> float:
    """Count the evaluations of an image that goes as far as a share of all do, over those of every score."""
    error, conditions = ErrorConfig().draws, 2 + captions
    searching = table.evaluations[table.audited] - 2 * error
    whole = searching + conditions * error
    steps = table.steps if table.audited == INVERSION else table.span.steps
    first = searching * look.count_steps(steps) / steps + conditions * look.draws
    # What was looked at under the condition so far is the one thing that a score does not use.
    return (first + passing * (whole + look.draws - first)) / whole


def format_looks(points: Sequence[LookPoint]) -> Iterator[str]:
    """Format the kinds of first look of one lab that lose the least for what they cost."""
    yield f"{'captions':8} {'search':>7} {'draws':>5} {'share':>5} {'cost':>6}  memorised images kept"
    for captions in (True, False):
        own = [one for one in points if one.captions is captions]
        for point in _frontier(own):
            yield (
                f"{'given' if captions else 'withheld':8} {point.search:7.1%} {point.draws:5} {point.share:5.0%} "
                f"{point.cost:6.1%}  {point.kept}"
            )


def _frontier(points: Sequence[LookPoint]) -> list[LookPoint]:
    """Return the points that no other one beats in both cost and images kept, from the cheapest."""
    best: list[LookPoint] = []
    for point in sorted(points, key=lambda one: (one.cost, -one.kept.rate)):
        if not best or point.kept.rate > best[-1].kept.rate:
            best.append(point)
    return best

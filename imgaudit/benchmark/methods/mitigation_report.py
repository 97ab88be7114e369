"""Figures and goals of the benchmark of mitigations, and its lines."""

from collections.abc import Iterator, Mapping
from math import inf

from imgaudit.benchmark.harness.figures import Goal, format_commands, format_goals
from imgaudit.benchmark.methods.mask_overlap import format_mask_overlap
from imgaudit.benchmark.methods.mitigation_table import (
    CHANGED,
    ERRORS_PRUNED,
    ERRORS_RANDOM,
    FILTERED,
    INFERENCE,
    LONGER,
    MORE,
    MORE_PRUNED,
    MORE_RANDOM,
    PRUNED,
    RANDOM,
    SHARE,
    TUNED,
    MitigationTable,
)
from imgaudit.exceptions import InputError
from imgaudit.mitigation.evaluation_summary import EvaluationFigures, MitigationFigures, figure_lines, summarise
from imgaudit.schema.comparison import Retention
from imgaudit.schema.records import Record, Skipped
from imgaudit.schema.text import wrap_prose
from imgaudit.statistics import Interval, newcombe


class MitigationReport(Record):
    """What `imgaudit benchmark mitigations` prints."""

    table: MitigationTable
    """What it rests on."""
    figures: EvaluationFigures
    """The evaluation's figures."""
    targets: list[Goal]
    """Goals and outcomes."""


def report_mitigations(table: MitigationTable) -> MitigationReport:
    """Compute figures and goals. Raises InputError for a table that lacks a mitigation."""
    figures = summarise(table.evaluation)
    rows = {row.name: row for row in figures.rows}
    if missing := [name for name in (*CHANGED, *INFERENCE) if name not in rows]:
        raise InputError(f"the table has no row {missing[0]!r}")
    base, pruned, descent = figures.rows[0], rows[PRUNED], rows[LONGER]
    targets = [
        judge_share("as it is, reproduced", base, least=0.9),
        judge_share("pruned, reproduced", pruned, most=0.2),
        judge_rise(pruned),
        judge_share("random mask of the same density, reproduced", rows[RANDOM], least=0.8),
        judge_share(f"pruned at {MORE}, reproduced", rows[MORE_PRUNED], most=0.2),
        judge_rise(rows[MORE_PRUNED]),
        judge_share("random mask of that density, reproduced", rows[MORE_RANDOM], least=0.8),
        judge_share(f"pruned by errors at {SHARE}, reproduced", rows[ERRORS_PRUNED], most=0.2),
        judge_rise(rows[ERRORS_PRUNED], most=0.05),
        judge_share("random mask of as many weights, reproduced", rows[ERRORS_RANDOM], least=0.9),
        judge_share("descent as published, reproduced", rows["descent"], most=0.1),
        judge_share("descent of 30 iterations, reproduced", descent, most=0.1),
        _kept_alignment(base, descent),
        *_judge_filter(rows),
        *_ordering(rows, table.retention),
    ]  # fmt: skip
    return MitigationReport(table=table, figures=figures, targets=targets)


def judge_share(name: str, row: MitigationFigures, *, least: float | None = None, most: float | None = None) -> Goal:
    """Judge how many trigger prompts still return their image: at least, or at most, a share of them."""
    if least is not None:
        return Goal.at_least(name, row.reproduced, least)
    return Goal.at_most(name, row.reproduced, most or 0.0)


def judge_rise(row: MitigationFigures, *, most: float = 0.1) -> Goal:
    """Judge how much the error on general images rises."""
    name, wanted, rise = f"{row.name}, error on clean images", f"upper bound <= +{most:.0%}", row.error_rise
    if isinstance(rise, Skipped):
        return Goal.unmeasured(name, wanted, f"not measured: {rise.skipped}")
    got = f"{rise.mean:+.1%} ({rise.low:+.1%} to {rise.high:+.1%})"
    return Goal.at_most(name, rise, most, wanted=wanted, got=got)


def _judge_filter(rows: Mapping[str, MitigationFigures]) -> list[Goal]:
    """Judge the model that was trained with a filter, where there is one."""
    if FILTERED not in rows:
        return []
    return [judge_share("filtered, reproduced", rows[FILTERED], most=0.2), judge_rise(rows[FILTERED], most=0.05)]


def _kept_alignment(base: MitigationFigures, row: MitigationFigures) -> Goal:
    name, wanted = f"{row.name}, general prompts retrieved, of what the model as it is retrieves", "lower bound >= 70%"
    before, after = base.general_retrieved, row.general_retrieved
    if isinstance(before, Skipped) or isinstance(after, Skipped):
        return Goal.unmeasured(name, wanted, "not measured: no CLIP")
    kept = after.mean / before.mean if before.mean else 0.0
    # Both ends against each other: wider than 95 %, and right however the two means depend on each other.
    ends = Interval(after.low / before.high if before.high else 0.0, after.high / before.low if before.low else inf)
    got = f"{kept:.0%} ({ends.low:.0%} to {ends.high:.0%}), {after} of {before}"
    return Goal.at_least(name, ends, 0.7, wanted=wanted, got=got)


def _ordering(rows: Mapping[str, MitigationFigures], retention: Mapping[str, Retention | Skipped]) -> list[Goal]:
    """DoRI's finding (arXiv 2507.16880): pruning hides, inversion brings back, adversarial fine-tuning holds."""
    found = {name: (one.retained, one.reproduced) for name, one in retention.items() if not isinstance(one, Skipped)}
    if missing := [name for name in (PRUNED, ERRORS_PRUNED, TUNED) if name not in found]:
        return [Goal.unmeasured("ordering after inversion", "pruned above fine-tuned", f"{missing[0]}: not measured")]
    goals = []
    for name in (PRUNED, ERRORS_PRUNED):
        captions = (rows[name].reproduced.hits, rows[name].reproduced.n)
        goals += [
            _above(f"{name}, retained after inversion", "above its captions", found[name], captions),
            _above(f"{name}, ordering after inversion", "above fine-tuned", found[name], found[TUNED]),
        ]
    return goals


def _above(name: str, wanted: str, higher: tuple[int, int], lower: tuple[int, int]) -> Goal:
    """Judge whether one rate (hits, n) lies above another by Newcombe's interval of their difference."""
    (hits, n), (others, m) = higher, lower
    difference = newcombe(others, m, hits, n)
    got = (
        f"{hits / n:.2f} and {others / m:.2f}, difference {hits / n - others / m:+.2f} "
        f"({difference.low:+.2f} to {difference.high:+.2f})"
    )
    return Goal.at_least(name, difference, 0.0, wanted=f"{wanted}, lower bound of the difference >= 0", got=got)


def format_mitigations(report: MitigationReport) -> Iterator[str]:
    """Format what was run, both scenarios, what audits still reproduce, and goals."""
    measured, first = report.table, report.figures.rows[0]
    settings = measured.evaluation.settings
    yield from wrap_prose(
        f"lab {measured.lab}, {measured.located} memorised images locate, {first.reproduced.n} others judge, "
        f"{measured.controls} controls, seed {measured.seed}"
    )
    yield from wrap_prose(
        f"{settings.images} pictures a prompt, guidance {settings.guidance_scale:g}, {settings.num_inference_steps} "
        f"steps; {measured.hardware}"
    )
    yield ""
    yield from format_commands(measured.commands)
    yield ""
    yield from figure_lines(report.figures)
    yield ""
    yield "audited up to inversion: what is retained of what the model as it is gives"
    yield f"{'':24}{'retained':28}{'from text':>9}{'only by inversion':>19}"
    for name, found in measured.retention.items():
        if isinstance(found, Skipped):
            yield from wrap_prose(f"{name:24}{found.skipped}", " " * 24)
            continue
        count = f"{found.retained} of {found.reproduced} ({found.low:.1%} to {found.high:.1%})"
        yield f"{name:24}{count:28}{found.from_text:9}{found.by_inversion_only:19}"
    yield ""
    yield "images that located the weights by errors: reproduced for their captions"
    yield from (f"{name:30} {share}" for name, share in measured.located_reproduced.items())
    yield ""
    yield from format_mask_overlap(measured.overlap)
    yield from format_goals(report.targets)

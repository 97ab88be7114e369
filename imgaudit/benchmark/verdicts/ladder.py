"""The elicitation ladder on a lab: which rung gives an image back, with its caption and with the caption withheld.

Rungs searched with the image in hand are tested without regard to the text rungs, so that withholding a caption needs
no second run: the lowest of them that stands is what an audit without captions finds.
"""

import sys
from collections.abc import Iterator, Sequence

from pydantic import ValidationError

from imgaudit.benchmark.harness.cases import CaseCounts, Group
from imgaudit.benchmark.harness.figures import (
    Goal,
    MeasuredRate,
    format_goals,
    format_rates,
    mean,
    measure_rate,
)
from imgaudit.benchmark.harness.lab_work import LabWork
from imgaudit.benchmark.harness.procedure import OnStage, record_procedure
from imgaudit.benchmark.harness.score_table import ScoreRow, ScoreTable
from imgaudit.benchmark.harness.scoring import measure_scores
from imgaudit.benchmark.settings import LadderSettings
from imgaudit.benchmark.verdicts.bank import bank_of
from imgaudit.benchmark.verdicts.decided_again import decide_again
from imgaudit.exceptions import InputError
from imgaudit.schema.policy import Policy
from imgaudit.schema.problems import describe_problem
from imgaudit.schema.protocol import LadderConfig, Protocol, TokenSearchConfig, protocol_for
from imgaudit.schema.records import INVERTED_RUNGS, TEXT_RUNGS, Record, Rung
from imgaudit.schema.text import wrap_prose

COUNTS = CaseCounts(controls=160, held_out=60, seen_once=0)
"""Images of a ladder benchmark, whose search of prompts costs several times the rest."""

RUNGS = (Rung.CAPTION, Rung.PARAPHRASE, Rung.TOKENS, Rung.EMBEDDING)
"""Rungs that are tried, lowest first."""

WANTED = 0.3
"""Share of memorised images that a searched prompt should bring back without their captions."""


class LadderReport(Record):
    """All tables of `imgaudit benchmark ladder`."""

    lab: str
    """Lab model."""
    protocol_hash: str
    """Protocol of bank and benchmark."""
    seed: int
    """Run seed."""
    controls: int
    """Controls that count in the bank."""
    words: int
    """Words of a searched prompt."""
    evaluations: int
    """Network evaluations that the search of one prompt may take."""
    network_evaluations_per_image: int
    """Of everything, mean."""
    hardware: str
    """Machine, device and threads."""
    bits: dict[Rung, float]
    """What a prompt or an embedding searched with the image in hand can carry at most."""
    rates: list[MeasuredRate]
    """Per group and rung: any copy, and standing by the whole rule; for controls any copy."""
    lowest: list[MeasuredRate]
    """Which rung is the lowest to stand, with and without captions."""
    targets: list[Goal]
    """Goals and outcomes."""


def ladder_protocol(base: Protocol, words: int, evaluations: int) -> Protocol:
    """A protocol with every rung that a lab's images can be asked by.

    words, evaluations:  of the search of prompts

    Raises InputError when the evaluations do not allow a single iteration.
    """
    try:
        tokens = TokenSearchConfig(**(base.tokens.model_dump() | {"words": words, "evaluations": evaluations}))
    except ValidationError as error:
        raise InputError(describe_problem(error)) from error
    rungs = tuple(rung.value for rung in RUNGS)
    return base.model_copy(update={"ladder": LadderConfig(rungs=rungs), "tokens": tokens})


def lowest_rung(row: ScoreRow, *, captions: bool) -> Rung | None:
    """The lowest rung that stands, of all or of those searched with the image in hand."""
    tried = [rung for rung in RUNGS if captions or rung in INVERTED_RUNGS]
    return next((rung for rung in tried if rung in row.rungs and row.rungs[rung].stands), None)


def _lowest(rows: Sequence[ScoreRow], group: Group, *, captions: bool) -> list[MeasuredRate]:
    told = "with captions" if captions else "captions withheld"
    found = [lowest_rung(row, captions=captions) for row in rows]
    tried = [rung for rung in RUNGS if captions or rung not in TEXT_RUNGS]
    rates = [measure_rate(f"{told}: {rung.value}", group, [one is rung for one in found]) for rung in tried]
    return [*rates, measure_rate(f"{told}: no rung", group, [one is None for one in found])]


def control_copies(table: ScoreTable, policy: Policy) -> list[MeasuredRate]:
    """Controls with any copy per rung, at the thresholds that they themselves set."""
    thresholds = bank_of(table, table.controls).thresholds(policy.copy_level)
    if thresholds is None:
        return []
    return [
        measure_rate(
            f"any copy, {rung.value}",
            "controls in the bank",
            [c.rungs[rung].count(thresholds.is_copy) > 0 for c in own],
        )
        for rung in RUNGS
        if (own := [control for control in table.bank if rung in control.rungs])
    ]


def report_ladder(table: ScoreTable) -> LadderReport:
    """Compute all statistics of a score table with a ladder, decided by the present rule; no model is needed."""
    withheld, table = decide_again(table, captions=False), decide_again(table)
    groups = [group for group in Group if table.of(group)]
    rates, lowest = [], []
    for group in groups:
        rows = table.of(group)
        for rung in RUNGS:
            own = [row.rungs[rung] for row in rows if rung in row.rungs]
            if own:
                rates.append(measure_rate(f"any copy, {rung.value}", group, [one.hits > 0 for one in own]))
                rates.append(measure_rate(f"stands, {rung.value}", group, [one.stands for one in own]))
        lowest += [*_lowest(rows, group, captions=True), *_lowest(withheld.of(group), group, captions=False)]
    bits = {rung: row.rungs[rung].bits for row in table.rows for rung in INVERTED_RUNGS if rung in row.rungs}
    return LadderReport(
        lab=table.lab,
        protocol_hash=table.protocol.hash,
        seed=table.seed,
        controls=len(table.bank),
        words=table.protocol.tokens.words,
        evaluations=table.protocol.tokens.evaluations,
        network_evaluations_per_image=round(mean([row.network_evaluations for row in table.rows])),
        hardware=table.hardware,
        bits={rung: value for rung, value in bits.items() if value is not None},
        rates=[*rates, *control_copies(table, Policy(level=table.level, copy_level=table.level))],
        lowest=lowest,
        targets=_targets(rates, lowest, table.level),
    )


def _targets(rates: Sequence[MeasuredRate], lowest: Sequence[MeasuredRate], level: float) -> list[Goal]:
    by_name = {(one.name, one.group): one for one in [*rates, *lowest]}
    targets = []
    if caption := by_name.get((f"stands, {Rung.CAPTION.value}", Group.MEMORISED)):
        name = "memorised images come out for their captions"
        targets.append(Goal.at_least(name, caption, 0.9))
    if tokens := by_name.get((f"captions withheld: {Rung.TOKENS.value}", Group.MEMORISED)):
        name = "captions withheld, memorised images come out for a searched prompt"
        targets.append(Goal.at_least(name, tokens, WANTED))
    wrong = {rung: by_name.get((f"stands, {rung.value}", Group.HELD_OUT)) for rung in RUNGS}
    return targets + [
        Goal.within_level(f"held-out images that stand, {rung.value}", one, level) for rung, one in wrong.items() if one
    ]


def format_ladder(report: LadderReport) -> Iterator[str]:
    """Format rates per rung, the lowest rung that reproduces an image, and goals."""
    yield from wrap_prose(
        f"lab {report.lab}, seed {report.seed}, {report.controls} controls in the bank, prompts of {report.words} "
        f"words searched with {report.evaluations} network evaluations"
    )
    carried = ", ".join(f"{rung.value} {bits:,.0f}" for rung, bits in report.bits.items())
    yield from wrap_prose(
        f"bits that can be carried: {carried}; {report.network_evaluations_per_image} network evaluations per image"
    )
    for title, rows in (("per rung", report.rates), ("lowest rung that stands", report.lowest)):
        yield ""
        yield from format_rates(title, rows)
    yield from format_goals(report.targets)


def _measure(settings: LadderSettings, on_stage: OnStage) -> ScoreTable:
    work = LabWork.open(settings, on_stage)
    protocol = ladder_protocol(protocol_for(settings.effort, work.framing), settings.words, settings.evaluations)
    return measure_scores(work, protocol, command=sys.argv, counts=COUNTS)


PROCEDURE = record_procedure(ScoreTable, _measure, report_ladder, format_ladder)

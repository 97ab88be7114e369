"""Realised error rates: false discovery of portfolios drawn from a lab's score table, power, and bank against nulls.

The bank stays the one that was committed, as a user's stays; portfolios are drawn anew from images that were measured.
Drawing bank and portfolios from one pool instead would make the rule hold by construction and prove nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from imgaudit.benchmark.harness.cases import Group
from imgaudit.benchmark.harness.figures import Goal, MeasuredRate, format_goals, format_rates, measure_rate
from imgaudit.benchmark.harness.procedure import OnStage, Procedure
from imgaudit.benchmark.harness.score_table import ControlTable, ScoreRow, ScoreTable
from imgaudit.benchmark.settings import ErrorSettings
from imgaudit.benchmark.verdicts.never_trained import NeverTrained, never_trained_kinds
from imgaudit.benchmark.verdicts.portfolios import (
    LEVELS,
    MEMORISED,
    PORTFOLIOS,
    PORTFOLIOS_EACH,
    RESAMPLES,
    Judged,
    Places,
    bank_of,
    choose,
    claim_portfolios,
    false_discovery_proportions,
    judge,
)
from imgaudit.benchmark.verdicts.power import PowerRow, power_by_bank, power_by_repeats
from imgaudit.decision.blind_baseline import blind_baseline
from imgaudit.decision.forcing import check_forcing
from imgaudit.exceptions import InputError
from imgaudit.schema.findings import ForcingCheck
from imgaudit.schema.policy import Policy
from imgaudit.schema.records import Record


class ErrorRow(Record):
    """Realised false discovery of one kind of image that the lab was never trained on, at one level."""

    kind: str
    """Where images that were never trained on come from, and how they are drawn."""
    claim: str
    """What is claimed: the score alone, or the verdict."""
    level: float
    """Level asked for."""
    images: int
    """How many such images there are."""
    memorised: int
    """Memorised images in each portfolio."""
    per_portfolio: int
    """Such images in each portfolio."""
    proportion: float
    """Mean over portfolios of the false share of what is claimed, 0 where nothing is."""
    low: float
    """95 % percentile interval over bootstrap samples of the images."""
    high: float
    """Upper end."""
    any_false: float
    """Share of portfolios with any false claim."""


class BankComparison(Record):
    """One-sided two-sample Kolmogorov-Smirnov test: are fresh images higher than the bank somewhere?"""

    fresh: str
    """Images compared with the bank."""
    statistic: float
    """Largest excess of the bank's distribution function."""
    p_value: float
    """Small: the bank is no null for these images."""
    controls: int
    """Controls."""
    images: int
    """Fresh images."""
    blind_auc: float | None
    """How well the blind baseline tells fresh images from controls without the model; None where there are too few."""
    blind_alarm: bool
    """Whether it would take the p-values of such images away."""


class ErrorReport(Record):
    """All tables of `imgaudit benchmark errors`."""

    lab: str
    """Lab model."""
    seed: int
    """Seed of the resampling."""
    controls: int
    """Controls that count in the bank."""
    portfolios: int
    """Portfolios per mean."""
    errors: list[ErrorRow]
    """Realised false discovery."""
    by_repeats: list[PowerRow]
    """Power per repeat count of planted images, at the first level."""
    by_bank: list[PowerRow]
    """Power per number of controls, memorised images, at the first level."""
    banks: list[BankComparison]
    """Bank against fresh images."""
    rule: list[MeasuredRate]
    """The whole rule on the controls kept out of the bank, p in place of q."""
    targets: list[Goal]
    """Goals and outcomes."""


def _bootstrap(families: Sequence[str], draw: np.random.Generator) -> Places:
    """Places of a bootstrap sample: whole families with replacement."""
    members: dict[str, list[int]] = {}
    for place, family in enumerate(families):
        members.setdefault(family, []).append(place)
    names = sorted(members)
    return np.concatenate([members[names[one]] for one in draw.integers(len(names), size=len(names))])


@dataclass(frozen=True)
class _Realised:
    """Means over portfolios."""

    proportion: float
    any_false: float


def _realise(
    memorised: Judged, never_trained: Judged, chosen: Places, drawn: Places, level: float
) -> dict[str, _Realised]:
    claims = claim_portfolios(memorised, never_trained, chosen, drawn, level)
    size = drawn.shape[1]
    return {
        name: _Realised(
            proportion=float(false_discovery_proportions(flags, size).mean()),
            any_false=float(flags[:, flags.shape[1] - size :].any(axis=1).mean()),
        )
        for name, flags in (("score", claims.score), ("verdict", claims.replicated))
    }


def error_rows(table: ScoreTable, kind: NeverTrained, seed: int) -> list[ErrorRow]:
    """Return the realised false discovery of one kind of image, for both claims at every level."""
    positives = table.of(Group.MEMORISED)
    rows = []
    for level in LEVELS:
        policy = Policy(level=level)
        bank = bank_of(table, kind.bank)
        memorised, never_trained = judge(positives, bank, policy), judge(kind.rows, bank, policy)
        draw = np.random.default_rng([seed, round(level * 1000)])
        own, pool = np.arange(len(positives)), np.arange(len(kind.rows))
        drawn = kind.draw(pool, draw, PORTFOLIOS)
        everything = _realise(memorised, never_trained, choose(own, draw, PORTFOLIOS), drawn, level)
        resampled = []
        for _ in range(RESAMPLES):
            some = draw.choice(own, len(own)) if positives else own
            resample = kind.draw(_bootstrap(kind.families, draw), draw, PORTFOLIOS_EACH)
            chosen = choose(some, draw, PORTFOLIOS_EACH)
            resampled.append(_realise(memorised, never_trained, chosen, resample, level))
        for claim, mean in everything.items():
            low, high = np.quantile([one[claim].proportion for one in resampled], [0.025, 0.975])
            rows.append(
                ErrorRow(
                    kind=kind.name, claim=claim, level=level, images=len(kind.rows),
                    memorised=MEMORISED if positives else 0, per_portfolio=drawn.shape[1],
                    proportion=mean.proportion, low=float(low), high=float(high), any_false=mean.any_false,
                )
            )  # fmt: skip
    return rows


def compare_bank(table: ScoreTable, other: ControlTable | None = None) -> list[BankComparison]:
    """The bank's scores against those of images that are not in it."""
    groups: Mapping[str, Sequence[ScoreRow]] = {
        str(group): table.of(group) for group in (Group.HELD_OUT, Group.WITHHELD, Group.SEEN_ONCE) if table.of(group)
    }
    found = []
    for source, controls in (("", table.controls), *([(f"; bank of {other.note}", other.controls)] if other else [])):
        bank = bank_of(table, controls)
        for name, rows in groups.items():
            if source and name != Group.HELD_OUT:
                continue
            fresh = [bank.line.residual(row.log_ratio, row.complexity) for row in rows]
            test = stats.ks_2samp(bank.scores(), fresh, alternative="greater")
            blind = blind_baseline([row.features for row in rows], [c.features for c in bank.controls])
            found.append(
                BankComparison(fresh=name + source, statistic=float(test.statistic), p_value=float(test.pvalue),
                               controls=len(bank.controls), images=len(fresh),
                               blind_auc=blind.auc if blind else None, blind_alarm=bool(blind and blind.alarms()))
            )  # fmt: skip
    return found


def rule_on_kept_out(table: ScoreTable) -> list[MeasuredRate]:
    """Count what the rule of each level calls among controls that the bank does not count."""
    rates = []
    for level in LEVELS:
        check = check_forcing(bank_of(table, table.controls), Policy(level=level))
        if isinstance(check, ForcingCheck):
            flags = [number < check.called for number in range(check.n)]
            rates.append(measure_rate(f"called at p <= {level:g}", "controls kept out", flags))
    return rates


def report_errors(table: ScoreTable, other: ControlTable | None = None, seed: int = 1) -> ErrorReport:
    """Compute all statistics; no model is needed.

    Raises InputError when the other controls met another model or protocol, or the lab measured no held-out image.
    """
    if not table.of(Group.HELD_OUT):
        raise InputError("the score table has no held-out images, so no error rate can be measured")
    if other and (other.model_fingerprint, other.protocol.hash) != (table.model_fingerprint, table.protocol.hash):
        raise InputError("the other controls met another model or protocol than the score table")
    errors = [row for kind in never_trained_kinds(table, other) for row in error_rows(table, kind, seed)]
    banks = compare_bank(table, other)
    return ErrorReport(
        lab=table.lab, seed=seed, controls=len(table.bank), portfolios=PORTFOLIOS, errors=errors,
        by_repeats=power_by_repeats(table, seed), by_bank=power_by_bank(table, seed), banks=banks,
        rule=rule_on_kept_out(table), targets=_targets(errors, banks),
    )  # fmt: skip


def _targets(errors: Sequence[ErrorRow], banks: Sequence[BankComparison]) -> list[Goal]:
    targets = []
    for row in errors:
        if row.kind in ("held out", "planted in the sibling only"):
            name = f"false discovery at q = {row.level:g}, {row.claim}, {row.kind}: the interval reaches the level"
            got = f"{row.proportion:.1%} ({row.low:.1%} to {row.high:.1%})"
            targets.append(Goal(name=name, wanted=f"<= {row.level:.0%}", got=got, met=row.low <= row.level))
    for bank in banks:
        if bank.fresh in (Group.HELD_OUT, Group.WITHHELD):
            name = f"bank against {bank.fresh}: ks_2samp does not reject"
            targets.append(Goal(name=name, wanted="p > 0.05", got=f"{bank.p_value:.3f}", met=bank.p_value > 0.05))
    return targets


def format_errors(report: ErrorReport) -> Iterator[str]:
    """Format realised false discovery, power, the bank against fresh images, and goals."""
    yield (
        f"lab {report.lab}, seed {report.seed}, {report.controls} controls in the bank; means over "
        f"{report.portfolios} portfolios"
    )
    yield ""
    yield (
        f"{'images never trained on':41}{'images':>7} {'portfolio':>10}  claim    asked  false share  95 % interval"
        "   any false"
    )
    for row in report.errors:
        yield (
            f"{row.kind[:40]:41}{row.images:7} {f'{row.memorised} + {row.per_portfolio}':>10}  {row.claim:8}"
            f"{row.level:6.0%} {row.proportion:12.1%}  {f'{row.low:.1%} to {row.high:.1%}':15}{row.any_false:10.1%}"
        )
    for title, rows in (("power by repeat count", report.by_repeats), ("power by size of bank", report.by_bank)):
        if rows:
            yield ""
            yield f"{title:25}{'images':>7}{'score':>9}{'verdict':>10}   95 % interval"
        for one in rows:
            yield (
                f"{one.name:25}{one.images:7}{one.score:9.1%}{one.replicated:10.1%}   {one.low:.1%} to {one.high:.1%}"
            )
    yield ""
    yield f"{'are fresh scores higher than the bank?':45}{'excess':>8}{'p':>8}   controls / images   blind baseline"
    for pair in report.banks:
        blind = "too few images" if pair.blind_auc is None else f"AUC {pair.blind_auc:.2f}"
        alarm = ", takes p-values away" if pair.blind_alarm else ""
        count = f"{pair.controls} / {pair.images}"
        yield f"{pair.fresh[:44]:45}{pair.statistic:8.3f}{pair.p_value:8.3f}   {count:20}{blind}{alarm}"
    yield ""
    yield from format_rates("the whole rule, p in place of q", report.rule)
    yield from format_goals(report.targets)


def _read(settings: ErrorSettings, on_stage: OnStage) -> ScoreTable:
    return ScoreTable.read(settings.table)


def _report(table: ScoreTable, settings: ErrorSettings) -> ErrorReport:
    return report_errors(table, ControlTable.read(settings.other) if settings.other else None, settings.seed)


PROCEDURE = Procedure(_read, ScoreTable.read, ScoreTable.write, _report, lambda report, _: format_errors(report))

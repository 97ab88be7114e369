"""Realised error rates over verdicts, power before and after, and what single images never trained on give.

Banks are drawn at random from the images that a lab was never trained on, and portfolios from those that are left, so
the figures are means over banks, as the rule's promise is. Intervals are those of the mean: 1.96 standard errors of
banks and of images, the latter from bootstrap samples of the images, each divided into a bank and the rest anew.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from scipy import stats

from imgaudit.benchmark.harness.cases import Group
from imgaudit.benchmark.harness.figures import (
    Goal,
    MeasuredRate,
    format_goals,
    format_rates,
    label_rows,
    measure_rate,
)
from imgaudit.benchmark.harness.procedure import OnStage, Procedure
from imgaudit.benchmark.harness.score_table import ControlTable, ScoreRow, ScoreTable
from imgaudit.benchmark.settings import ErrorSettings
from imgaudit.benchmark.verdicts.bank import bank_of
from imgaudit.benchmark.verdicts.images import INVERTED, TEXT, Floats, Images, Places
from imgaudit.benchmark.verdicts.never_trained import (
    ANY,
    CLEAN_KIND,
    SIBLING,
    NeverTrained,
    never_trained_kinds,
    pool_of,
)
from imgaudit.benchmark.verdicts.portfolios import (
    LEVELS,
    MEMORISED,
    Judged,
    choose,
    decide_portfolios,
    false_discovery_proportions,
    join_portfolios,
    judge,
    rank_images,
)
from imgaudit.benchmark.verdicts.power import BACK, Power, PowerRow, power_by_bank, power_by_repeats
from imgaudit.decision.blind_baseline import blind_baseline
from imgaudit.decision.forcing import check_forcing
from imgaudit.exceptions import InputError
from imgaudit.schema.error_checks import ForcingCheck
from imgaudit.schema.policy import Policy
from imgaudit.schema.records import Record
from imgaudit.schema.text import wrap_prose
from imgaudit.statistics import Interval

BANKS, PORTFOLIOS = 40, 60
"""Random banks behind a mean, and portfolios of each."""

RESAMPLES, BANKS_EACH = 40, 6
"""Bootstrap samples of the images behind an interval, and banks from each."""

WANTED_POWER = 0.8
"""Share of the images that come back from their embedding which should be called replicated by inversion."""

PROMISED = (ANY, CLEAN_KIND, SIBLING)
"""Kinds of images for which the rule promises its level, exchangeable with the controls: these get an interval."""


class ErrorRow(Record):
    """Realised false discovery of one kind of image that the lab was never trained on, at one level."""

    kind: str
    """Source of the images that were never trained on, and how they are drawn."""
    captions: bool
    """True where captions are given, False where they are withheld."""
    level: float
    """False discovery rate to which the audit was set."""
    images: int
    """Number of such images, controls included where banks are drawn from them."""
    memorised: int
    """Memorised images in each portfolio."""
    per_portfolio: int
    """Such images in each portfolio."""
    findings: float
    """Mean false share of all findings against the model, 0 where there is none."""
    low: float | None
    """95 % interval of `findings`, a mean over banks and images; None for kinds of which nothing is promised."""
    high: float | None
    """Upper end."""
    worst_bank: float
    """Mean false share of findings with the bank that 97.5 % of the banks do not exceed: a user has one bank."""
    copies: float
    """Mean false share of the images called replicated, from text or by inversion."""
    any_false: float
    """Share of portfolios with any false finding."""


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
    """True when it would take the p-values of such images away."""


class ErrorReport(Record):
    """All tables of `imgaudit benchmark errors`."""

    lab: str
    """Lab model."""
    seed: int
    """Seed of the resampling."""
    controls: int
    """Controls that count in each bank."""
    banks_drawn: int
    """Banks per mean."""
    portfolios: int
    """Portfolios per bank."""
    errors: list[ErrorRow]
    """Realised false discovery."""
    by_repeats: list[PowerRow]
    """Power per repeat count of planted images, at the first level, by the earlier and the present rule."""
    by_bank: list[PowerRow]
    """Power per number of controls, memorised images, at the first level."""
    single: list[MeasuredRate]
    """Single images that were never trained on: coincidence, the absolute standard, copies."""
    banks: list[BankComparison]
    """Bank against fresh images."""
    rule: list[MeasuredRate]
    """The rule for embeddings on the controls kept out of the committed bank, p in place of q."""
    targets: list[Goal]
    """Goals and outcomes."""


def _realise(
    kind: NeverTrained,
    positives: Images,
    draw: np.random.Generator,
    portfolios: int,
    *,
    captions: bool,
    bootstrap: bool,
) -> Mapping[float, Floats]:
    """Return the false share of findings and copies, and of portfolios with any false finding: per level (banks, 3)."""
    found: dict[float, list[tuple[float, float, float]]] = {level: [] for level in LEVELS}
    for split in kind.splits(draw, BANKS_EACH if bootstrap else BANKS, bootstrap=bootstrap):
        own = draw.integers(len(positives), size=len(positives)) if bootstrap else np.arange(len(positives))
        drawn = kind.draw(split.places, draw, portfolios)
        chosen = choose(own, draw, portfolios)
        places, drawn = np.unique(drawn, return_inverse=True)
        groups = (positives, kind.images.at(places))
        ranked = [rank_images(images, split.bank, captions=captions) for images in groups]
        for level in LEVELS:
            policy = Policy(level=level)
            memorised, never_trained = (
                judge(images, split.bank, policy, captions=captions, p_values=p_values)
                for images, p_values in zip(groups, ranked, strict=True)
            )
            found[level].append(_false_shares(join_portfolios(memorised, never_trained, chosen, drawn), drawn, level))
    return {level: np.array(one) for level, one in found.items()}


def _false_shares(portfolios: Judged, drawn: Places, level: float) -> tuple[float, float, float]:
    claims, size = decide_portfolios(portfolios, level), drawn.shape[1]
    findings, copies = (
        float(false_discovery_proportions(one, size).mean()) for one in (claims.findings, claims.copies)
    )
    return findings, copies, float(claims.findings[:, claims.findings.shape[1] - size :].any(axis=1).mean())


def error_rows(table: ScoreTable, kind: NeverTrained, seed: int) -> list[ErrorRow]:
    """Return the realised false discovery of one kind of image, with and without captions, at every level."""
    positives, rows = Images.of(table.of(Group.MEMORISED)), []
    for captions in (True, False):
        draw = np.random.default_rng([seed, int(captions)])
        realised = _realise(kind, positives, draw, PORTFOLIOS, captions=captions, bootstrap=False)
        resampled = [
            _realise(kind, positives, draw, PORTFOLIOS, captions=captions, bootstrap=True)
            for _ in range(RESAMPLES if kind.name in PROMISED else 0)
        ]
        size = kind.draw(np.arange(len(kind.images)), draw, 1).shape[1]
        for level, by_bank in realised.items():
            findings, copies, any_false = by_bank.mean(axis=0)
            half = _half_width(by_bank[:, 0], np.array([one[level][:, 0] for one in resampled])) if resampled else None
            low, high = (None, None) if half is None else (max(0.0, findings - half), min(1.0, findings + half))
            rows.append(
                ErrorRow(
                    kind=kind.name, captions=captions, level=level, images=len(kind.images),
                    memorised=MEMORISED if len(positives) else 0, per_portfolio=size, findings=float(findings),
                    low=low, high=high, worst_bank=float(np.quantile(by_bank[:, 0], 0.975)),
                    copies=float(copies), any_false=float(any_false),
                )
            )  # fmt: skip
    return rows


def _half_width(by_bank: Floats, resampled: Floats) -> float:
    """Return half the width of a 95 % interval of a mean over banks and images.

    The variance of a bootstrap sample's mean is that of images plus a share of that of banks, because a sample has
    few banks: this share is taken away. The variance of the figure's own banks is then added.

    by_bank:    (banks,) false shares with all images
    resampled:  (samples, banks) false shares with bootstrap samples of the images
    """
    of_images = resampled.mean(axis=1).var(ddof=1) - resampled.var(axis=1, ddof=1).mean() / resampled.shape[1]
    return float(1.96 * np.sqrt(max(0.0, of_images) + by_bank.var(ddof=1) / len(by_bank)))


def rate_single_images(table: ScoreTable) -> list[MeasuredRate]:
    """Count what single images that were never trained on give: no folder and no bank has a part in it."""
    held_out, pool = Images.of(table.of(Group.HELD_OUT)), Images.of(pool_of(table))
    asked = held_out.at(np.flatnonzero(held_out.scored[:, TEXT] > 0))
    rates = [
        measure_rate(f"coincidence p <= {level:g}", "held out, own caption", (asked.coincidence <= level).tolist())
        for level in (0.05, 0.01)
    ]
    for name, rung in (("own caption", TEXT), ("embedding", INVERTED)):
        group = f"never trained on, {name}"
        near = pool.near_identical[:, rung]
        rates.append(measure_rate("any output is near-identical", group, (near > 0).tolist()))
        mostly = pool.mostly_near_identical[:, rung]
        rates.append(measure_rate("at least half are near-identical", group, mostly.tolist()))
    return rates


def compare_bank(table: ScoreTable, other: ControlTable | None = None) -> list[BankComparison]:
    """Compare the committed bank's scores with those of images that are not in it."""
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
    """Count what the rule of each level calls among controls that the committed bank does not count."""
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
    kinds = never_trained_kinds(table, other)
    errors = [row for kind in kinds for row in error_rows(table, kind, seed)]
    banks, by_repeats = compare_bank(table, other), power_by_repeats(table, seed)
    [split] = kinds[0].splits(np.random.default_rng(seed), 1)
    return ErrorReport(
        lab=table.lab, seed=seed, controls=len(split.bank.controls), banks_drawn=BANKS, portfolios=PORTFOLIOS,
        errors=errors, by_repeats=by_repeats, by_bank=power_by_bank(table, seed), single=rate_single_images(table),
        banks=banks, rule=rule_on_kept_out(table), targets=_targets(errors, by_repeats),
    )  # fmt: skip


def _targets(errors: Sequence[ErrorRow], power: Sequence[PowerRow]) -> list[Goal]:
    targets = []
    for row in errors:
        if row.low is not None and row.high is not None and row.level == LEVELS[0]:
            name = f"false share, {row.kind}, captions {'given' if row.captions else 'withheld'}"
            got = f"{row.findings:.1%} ({row.low:.1%} to {row.high:.1%})"
            targets.append(Goal.within_level(name, Interval(row.low, row.high), row.level, got=got))
    for one in power:
        if one.name.startswith(BACK):
            found = one.withheld
            got = f"{found.found:.1%} ({found.low:.1%} to {found.high:.1%}, n {one.images})"
            name = f"captions withheld, {one.name}"
            wanted = f"lower bound >= {WANTED_POWER:.0%}"
            targets.append(Goal.at_least(name, found, WANTED_POWER, wanted=wanted, got=got))
    return targets


LABEL = 36
"""Columns in front of the figures of found images."""


def format_errors(report: ErrorReport) -> Iterator[str]:
    """Format realised false discovery, power, single images, the bank against fresh images, and goals."""
    yield from wrap_prose(
        f"lab {report.lab}, seed {report.seed}; means over {report.banks_drawn} random banks of {report.controls} "
        f"controls, {report.portfolios} portfolios each"
    )
    yield ""
    yield from _format_false_shares(report.errors)
    for title, rows in (("found, by repeat count", report.by_repeats), ("found, by size of bank", report.by_bank)):
        if rows:
            yield ""
            yield f"{title:{LABEL}}{'images':>6}{'before':>9}{'now':>9}   95 % interval"
        yield from _label_by_captions(
            rows, lambda one: (one.before, one.now), lambda one: (one.before_withheld, one.withheld)
        )
    if rows := [*report.by_repeats, *report.by_bank]:
        yield ""
        yield "any finding: replicated, or unlike the controls"
        yield f"{'':{LABEL}}{'images':>6}{'found':>9}   95 % interval"
        yield from _label_by_captions(rows, lambda one: (one.told,), lambda one: (one.told_withheld,))
    yield ""
    yield from format_rates("single images, by themselves", report.single)
    yield ""
    yield from _format_banks(report.banks)
    yield ""
    yield from format_rates("the rule for embeddings, p for q", report.rule)
    yield from format_goals(report.targets)


def _label_by_captions(rows: Sequence[PowerRow], *powers: Callable[[PowerRow], tuple[Power, ...]]) -> Iterator[str]:
    """Format what is found of every row with captions, then without: every share, and the interval of the last."""
    for captions, select in zip(("captions given", "captions withheld"), powers, strict=True):
        figures = [
            f"{one.images:6}{''.join(f'{power.found:9.1%}' for power in select(one))}   "
            f"{select(one)[-1].low:.1%} to {select(one)[-1].high:.1%}"
            for one in rows
        ]
        yield from label_rows([(captions, one.name) for one in rows], figures, LABEL)


def _format_false_shares(rows: Sequence[ErrorRow]) -> Iterator[str]:
    yield "false share of findings"
    yield f"{'':20}{'level':>6}{'findings':>10}  {'95 % interval':14}{'one bank':>9}{'copies':>8}{'any false':>11}"
    labels, figures = list[tuple[str, str]](), list[str]()
    for row in rows:
        interval = "" if row.low is None or row.high is None else f"{row.low:.1%} to {row.high:.1%}"
        kind = f"{row.kind}: {row.images} images, portfolios of {row.memorised} + {row.per_portfolio}"
        labels.append((kind, f"captions {'given' if row.captions else 'withheld'}"))
        figures.append(
            f"{row.level:6.0%}{row.findings:10.1%}  {interval:14}{row.worst_bank:9.1%}{row.copies:8.1%}"
            f"{row.any_false:11.1%}"
        )
    yield from label_rows(labels, figures, 20)


def _format_banks(rows: Sequence[BankComparison]) -> Iterator[str]:
    yield "are fresh scores higher than the bank?"
    yield f"{'':{LABEL}}excess       p   controls / images"
    for pair in rows:
        blind = "too few images" if pair.blind_auc is None else f"AUC {pair.blind_auc:.2f}"
        alarm = ", takes p-values away" if pair.blind_alarm else ""
        count = f"{pair.controls} / {pair.images}"
        yield f"{pair.fresh[: LABEL - 1]:{LABEL}}{pair.statistic:6.3f}{pair.p_value:8.3f}   {count}"
        yield f"  blind baseline: {blind}{alarm}"


def _read(settings: ErrorSettings, on_stage: OnStage) -> ScoreTable:
    return ScoreTable.read(settings.table)


def _report(table: ScoreTable, settings: ErrorSettings) -> ErrorReport:
    return report_errors(table, ControlTable.read(settings.other) if settings.other else None, settings.seed)


PROCEDURE = Procedure(_read, ScoreTable.read, ScoreTable.write, _report, lambda report, _: format_errors(report))

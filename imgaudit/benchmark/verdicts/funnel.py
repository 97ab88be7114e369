"""What a funnel saves and what it loses: images with an ordinary score are scored only, controls by the same rule.

Everything is computed from the table of `imgaudit benchmark detection`, in which every image was asked in all ways, so
that both audits see the same measurements. Banks are drawn at random, and portfolios from the images that are left.
Figures are means over banks, with the range that 95 % of the banks have.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from imgaudit.benchmark.budgets.dori import count_evaluations
from imgaudit.benchmark.harness.cases import Group
from imgaudit.benchmark.harness.figures import Goal, format_goals
from imgaudit.benchmark.harness.lab_model import lab_folder
from imgaudit.benchmark.harness.procedure import OnStage, Procedure
from imgaudit.benchmark.harness.score_table import ControlRow, ScoreRow, ScoreTable
from imgaudit.benchmark.searches.table import CAPTION, TEXTS, SearchTable, name_look
from imgaudit.benchmark.settings import FunnelSettings
from imgaudit.benchmark.verdicts.images import Flags, Floats, Images, Places
from imgaudit.benchmark.verdicts.never_trained import is_searched, pool_of
from imgaudit.benchmark.verdicts.portfolios import (
    Bank,
    Judged,
    decide_portfolios,
    false_discovery_proportions,
    group_families,
    join_portfolios,
    judge,
    judge_through_funnel,
    split_pool,
)
from imgaudit.exceptions import InputError
from imgaudit.runs.work import look_work, score_work
from imgaudit.schema.funnel import FirstLookConfig, FunnelConfig, make_funnel
from imgaudit.schema.policy import Policy
from imgaudit.schema.records import Record
from imgaudit.schema.text import wrap_prose

FUNNELS = (
    FunnelConfig(share=0.05), make_funnel(0.05), FunnelConfig(share=0.10), make_funnel(0.10), FunnelConfig(share=0.20),
)  # fmt: skip
"""Funnels that are tried: without and with a first look."""

LOOK = FirstLookConfig()
"""The first look that audits take."""

MIXES = ((5, 95), (0, 100), (10, 40))
"""Memorised images and images that were never trained on, in one portfolio."""

BANKS, PORTFOLIOS = 40, 60
"""Random banks, and portfolios of each."""

LEVEL = 0.05
"""False discovery rate that is asked for."""


class Spread(Record):
    """A mean over random banks, with the range that 95 % of them have."""

    mean: float
    """The mean."""
    low: float
    """2.5 % of the banks are below this."""
    high: float
    """2.5 % of the banks are above this."""

    @classmethod
    def of(cls, by_bank: Sequence[float]) -> "Spread":
        """Return the mean and the range of one figure per bank."""
        low, high = np.quantile(by_bank, (0.025, 0.975))
        return cls(mean=float(np.mean(by_bank)), low=float(low), high=float(high))

    def scaled(self, factor: float) -> "Spread":
        """Return the spread of the same figure in another unit."""
        return Spread(mean=self.mean * factor, low=self.low * factor, high=self.high * factor)

    def __str__(self) -> str:
        return f"{self.mean:.1%} ({self.low:.1%} to {self.high:.1%} over banks)"


class FunnelRow(Record):
    """Portfolios of one mix of images, by an audit with a funnel and by one without."""

    captions: bool
    """True where captions are given, False where they are withheld."""
    share: float
    """Share of images like the controls that the funnel asks in all ways."""
    first_look: float | None
    """Share of images like the controls that it scores after a first look; None where it scores all."""
    memorised: int
    """Memorised images in a portfolio."""
    never_trained: int
    """Images in it that were never trained on."""
    cost: Spread
    """Network evaluations with the funnel over those without."""
    scored: Spread
    """Share of the images never trained on that are scored."""
    asked: Spread
    """Share of them that are asked in all ways."""
    found: Spread
    """Share of the memorised images called replicated, without the funnel."""
    found_through: Spread
    """The same with it."""
    same: Spread
    """Share of all images with the same conclusion: replicated, standing out, or neither."""
    false_share: Spread
    """False share of the findings, without the funnel."""
    false_share_through: Spread
    """The same with it."""


class FunnelReport(Record):
    """All figures of `imgaudit benchmark funnel`."""

    lab: str
    """Lab model."""
    seed: int
    """Seed of the resampling."""
    controls: int
    """Controls that count in each bank."""
    memorised: int
    """Memorised images."""
    pool: int
    """Images that were never trained on, those that banks are drawn from included."""
    full: float
    """Mean network evaluations of an image that is asked in all ways."""
    scored: int
    """Network evaluations of one that is scored only."""
    per_caption: int
    """Network evaluations more for the score under a caption, in either case."""
    looked: int | None
    """Network evaluations of one that is left out after its first look; None where none was taken."""
    look_per_caption: int
    """Network evaluations more for a first look under a caption."""
    rows: list[FunnelRow]
    """One per mix, share and choice of captions."""
    targets: list[Goal]
    """Goals and outcomes, at the share that `FunnelConfig` has."""


def report_funnel(table: ScoreTable, seed: int = 1, scores: SearchTable | None = None) -> FunnelReport:
    """Compute all figures; no model is needed.

    scores:  of the same images, for a table that was measured without scores under captions

    Raises InputError for a table without the images or scores that they need.
    """
    positives, pool = table.of(Group.MEMORISED), pool_of(table)
    if not positives or not table.of(Group.HELD_OUT):
        raise InputError("the table needs memorised and held-out images, and has none of one kind")
    costs = _Costs.of(table, [*positives, *table.of(Group.HELD_OUT)], scores)
    images, never_trained = (_add_scores(Images.of(rows), rows, scores) for rows in (positives, pool))
    families = group_families([row.sha256 for row in pool])
    rows: list[FunnelRow] = []
    funnels = [one for one in FUNNELS if one.first_look is None or costs.looked is not None]
    for captions in (True, False):
        draw = np.random.default_rng([seed, int(captions)])
        splits = [split_pool(never_trained, families, draw, searched=is_searched(table)) for _ in range(BANKS)]
        if captions and not splits[0].bank.scored_captions:
            raise InputError(
                "the table has no scores under captions: measure it again, or give --scores with a table of "
                "`imgaudit benchmark searches` for the same model"
            )
        judged = [
            [_JudgedPool.of(images, never_trained.at(split.places), split.bank, one, captions=captions)
             for one in funnels]
            for split in splits
        ]  # fmt: skip
        for memorised, others in MIXES:
            figures: list[list[dict[str, float]]] = [[] for _ in funnels]
            for by_funnel in judged:
                first = draw.integers(len(images), size=(PORTFOLIOS, memorised))
                second = draw.integers(len(by_funnel[0].through[1].p_values), size=(PORTFOLIOS, others))
                for number, one in enumerate(by_funnel):
                    figures[number].append(one.compare((first, second), costs, captions=captions))
            for funnel, by_bank in zip(funnels, figures, strict=True):
                spreads = {name: Spread.of([one[name] for one in by_bank]) for name in by_bank[0]}
                rows.append(
                    FunnelRow(
                        captions=captions, share=funnel.share,
                        first_look=funnel.first_look.share if funnel.first_look else None,
                        memorised=memorised, never_trained=others, **spreads,
                    )
                )  # fmt: skip
    return FunnelReport(
        lab=table.lab, seed=seed, controls=len(splits[0].bank.controls), memorised=len(images), pool=len(pool),
        full=costs.full, scored=costs.scored, per_caption=costs.per_caption, looked=costs.looked,
        look_per_caption=costs.look_per_caption, rows=rows, targets=list(_judge_goals(rows, costs)),
    )  # fmt: skip


@dataclass(frozen=True)
class _Costs:
    """Network evaluations of one image, without what its score under a caption takes."""

    full: float
    """Where it is asked in all ways."""
    scored: int
    """Where it is scored only."""
    per_caption: int
    """Of the score under its caption."""
    looked: int | None
    """Where it is left out after its first look; None where the table has no first looks."""
    look_per_caption: int
    """Of the first look under its caption."""

    @classmethod
    def of(cls, table: ScoreTable, rows: Sequence[ScoreRow], scores: SearchTable | None) -> "_Costs":
        protocol, kind = table.protocol, None
        spent = float(np.mean([row.network_evaluations for row in rows]))
        if any(row.caption_log_ratio is not None for row in rows):
            spent -= protocol.error.draws
        if scores is not None and scores.audited == TEXTS and protocol.span is None:
            # The search among texts comes before an inversion that the table has already.
            protocol, kind = protocol.model_copy(update={"span": scores.span}), scores.prediction_type
            spent += 2 * scores.span.steps * scores.span.draws
        elif scores is not None:
            kind = scores.prediction_type
        looked, of_caption = None, 0
        if scores is not None and all(row.looks for row in scores.rows):
            looked, captioned = (
                look_work(protocol, LOOK, kind, captioned=one).evaluations for one in (False, True)
            )  # fmt: skip
            of_caption = captioned - looked
        draws = protocol.error.draws
        return cls(spent, score_work(protocol, kind).evaluations, draws, looked, of_caption)

    def share(self, scored: float, asked: float, *, captions: bool, first_look: bool) -> float:
        """Return what images take, over what they take where all are asked in all ways.

        scored, asked:  shares of the images
        """
        more = self.per_caption if captions else 0
        whole, score = self.full + more, self.scored + more
        if not first_look or self.looked is None:
            return (score + asked * (whole - score)) / whole
        # Errors under the condition so far are the one thing that a score does not use; a first look under the baseline
        # takes as many.
        first = self.looked + (self.look_per_caption if captions else 0)
        return (first + scored * (score + self.look_per_caption - first) + asked * (whole - score)) / whole


def _add_scores(images: Images, rows: Sequence[ScoreRow | ControlRow], scores: SearchTable | None) -> Images:
    """Take the scores of an audit, and those under captions, from a table of searches; raises InputError for others."""
    if scores is None:
        return images
    found = {row.sha256: row.log_ratios for row in scores.rows}
    try:
        own = [found[row.sha256[:16]] for row in rows]
        score, caption = (np.array([one[name] for one in own], dtype=float) for name in (scores.audited, CAPTION))
        looks = {row.sha256: row.looks.get(name_look(LOOK), (np.nan, np.nan)) for row in scores.rows}
        first, under_captions = np.array([looks[row.sha256[:16]] for row in rows], dtype=float).reshape(-1, 2).T
    except KeyError as error:
        raise InputError(f"the table of searches has no score of {error}: it is of other images") from error
    return replace(
        images, log_ratios=score, caption_log_ratios=caption, looks=first, caption_looks=under_captions
    )  # fmt: skip


@dataclass(frozen=True)
class _JudgedPool:
    """Images judged by one bank with a funnel and without; of each pair the first holds the memorised images."""

    funnel: FunnelConfig
    without: tuple[Judged, Judged]
    through: tuple[Judged, Judged]
    scored: tuple[Flags, Flags]
    asked: tuple[Flags, Flags]

    @classmethod
    def of(
        cls, memorised: Images, never_trained: Images, bank: Bank, funnel: FunnelConfig, *, captions: bool
    ) -> "_JudgedPool":
        policy, groups = Policy(level=LEVEL), (memorised, never_trained)
        first, second = (judge(one, bank, policy, captions=captions) for one in groups)
        third, fourth = (judge_through_funnel(one, bank, policy, funnel, captions=captions) for one in groups)
        scored = [bank.looks_on(one, funnel, captions=captions) for one in groups]
        asked = [bank.asks(one, funnel, captions=captions) for one in groups]
        return cls(funnel, (first, second), (third, fourth), (scored[0], scored[1]), (asked[0], asked[1]))

    def compare(self, places: tuple[Places, Places], costs: _Costs, *, captions: bool) -> dict[str, float]:
        """Decide portfolios with the funnel and without, and return every figure as a mean over them.

        places:  memorised images and others, portfolios in rows
        """
        first, second = (
            decide_portfolios(join_portfolios(pair[0], pair[1], *places), LEVEL)
            for pair in (self.without, self.through)
        )
        scored, asked = (
            [flags[chosen] for flags, chosen in zip(pair, places, strict=True)] for pair in (self.scored, self.asked)
        )
        looks = self.funnel.first_look is not None
        shares = [float(np.concatenate(flags, axis=1).mean()) for flags in (scored, asked)]
        count, others = places[0].shape[1], places[1].shape[1]
        return {
            "cost": costs.share(*shares, captions=captions, first_look=looks),
            "scored": float(scored[1].mean()),
            "asked": float(asked[1].mean()),
            "found": _mean(first.copies[:, :count]),
            "found_through": _mean(second.copies[:, :count]),
            "same": _mean((first.copies == second.copies) & (first.findings == second.findings)),
            "false_share": _mean(false_discovery_proportions(first.findings, others)),
            "false_share_through": _mean(false_discovery_proportions(second.findings, others)),
        }


def _mean(values: Floats | Flags) -> float:
    return float(np.mean(values)) if values.size else 0.0


def _judge_goals(rows: Sequence[FunnelRow], costs: _Costs) -> Iterator[Goal]:
    looks = any(row.first_look is not None for row in rows)
    for row in rows:
        if row.share != FunnelConfig().share or (row.first_look is None) is looks:
            continue
        mix = f"{row.memorised} + {row.never_trained}, captions {'given' if row.captions else 'withheld'}"
        bound = {5: 1 / 3, 0: 1 / 4}.get(row.memorised)
        if bound is not None:
            wanted = f"<= {bound:.1%} for 97.5 % of banks"
            yield Goal.at_most(f"evaluations, {mix}", row.cost, bound, wanted=wanted, got=str(row.cost))
        if row.memorised == 5:
            beside = row.cost.scaled((costs.full + (costs.per_caption if row.captions else 0)) / count_evaluations())
            wanted = f"<= 20.0% of {count_evaluations():,} an image for 97.5 % of banks"
            yield Goal.at_most(f"evaluations beside DoRI's, {mix}", beside, 1 / 5, wanted=wanted, got=str(beside))
        wanted = "the same in >= 99 % for 97.5 % of banks"
        yield Goal.at_least(f"conclusions, {mix}", row.same, 0.99, wanted=wanted, got=str(row.same))
        worse = Spread(mean=row.false_share_through.mean, low=0.0, high=row.false_share_through.mean)
        allowed = max(LEVEL, row.false_share.mean)
        got = f"{row.false_share_through.mean:.1%}, without the funnel {row.false_share.mean:.1%}"
        yield Goal.at_most(f"false share, {mix}", worse, allowed, wanted="mean no worse than without, or 5 %", got=got)


def format_funnel(report: FunnelReport) -> Iterator[str]:
    """Format the table of mixes and shares, and the goals."""
    looked = (
        f" {report.looked:,} for one left out after its first look; {report.look_per_caption} more for that under a "
        "caption."
        if report.looked is not None
        else ""
    )
    yield from wrap_prose(
        f"lab {report.lab}, seed {report.seed}, {report.memorised} memorised images, {report.pool} never trained on; "
        f"means over {BANKS} random banks of {report.controls} controls, {PORTFOLIOS} portfolios each; level "
        f"{LEVEL:g}. {report.full:,.0f} network evaluations per image that is asked in all ways, {report.scored:,} for "
        f"one that is scored only; {report.per_caption} more for the score under a caption.{looked}"
    )
    yield ""
    yield (
        f"{'look':>6}{'share':>6}{'cost':>8}{'97.5 %':>7}{'asked':>7}{'found':>7}{'through':>8}{'same':>8}{'2.5 %':>8}"
        f"{'false':>7}{'through':>8}"
    )
    last = ""
    for row in report.rows:
        heading = f"{row.memorised} + {row.never_trained}, captions {'given' if row.captions else 'withheld'}"
        if heading != last:
            yield heading
        last = heading
        yield (
            f"{'-' if row.first_look is None else f'{row.first_look:.0%}':>6}{row.share:6.0%}{row.cost.mean:8.1%}"
            f"{row.cost.high:7.1%}{row.asked.mean:7.1%}{row.found.mean:7.1%}{row.found_through.mean:8.1%}"
            f"{row.same.mean:8.2%}{row.same.low:8.2%}{row.false_share.mean:7.1%}{row.false_share_through.mean:8.1%}"
        )
    yield from format_goals(report.targets)


def _measure(settings: FunnelSettings, on_stage: OnStage) -> ScoreTable:
    return ScoreTable.read(lab_folder(settings.model) / "detection.json")


PROCEDURE = Procedure[FunnelSettings, ScoreTable, FunnelReport](
    _measure, ScoreTable.read, lambda table, path: table.write(path),
    lambda table, settings: report_funnel(
        table, settings.seed, SearchTable.read(settings.scores) if settings.scores else None
    ), lambda report, _: format_funnel(report),
)  # fmt: skip

"""The tables of `imgaudit benchmark`, as plain text of at most 120 columns."""

from collections.abc import Iterator, Sequence

from imgaudit.benchmark.budgets.budget import NEAREST, BudgetReport
from imgaudit.benchmark.budgets.frontier import FrontierReport
from imgaudit.benchmark.budgets.token_search import PromptReport
from imgaudit.benchmark.harness.budget_table import BudgetPoint
from imgaudit.benchmark.harness.figures import Goal, MeasuredRate, Separation
from imgaudit.benchmark.speed.speed import SpeedReport
from imgaudit.benchmark.verdicts.detection import DetectionReport
from imgaudit.benchmark.verdicts.errors import ErrorReport
from imgaudit.benchmark.verdicts.ladder import LadderReport


def detection_lines(report: DetectionReport, *, brief: bool = False) -> Iterator[str]:
    """Separations, rates per group, dose and response, hopes; or the hopes alone."""
    yield (
        f"lab {report.lab}, seed {report.seed}, {report.controls} controls in the bank, level {report.level:g}, "
        f"protocol {report.protocol_hash[:16]}"
    )
    yield (
        f"{report.network_evaluations_per_image} network evaluations and {report.seconds_per_image:.1f} s per image "
        f"on {report.hardware}"
    )
    if brief:
        yield from goal_lines(report.targets)
        return
    yield ""
    yield "separation of memorised images              against        AUC    95 % interval    n"
    for row in report.separations:
        yield (
            f"{row.name:44}{row.against:13} {row.auc:.3f}   {row.low:.3f} to {row.high:.3f}   "
            f"{row.positives} / {row.negatives}"
        )
    for title, rows in (("per group", report.rates), ("by repeat count", report.by_repeats)):
        yield ""
        yield from rate_lines(title, rows)
    if report.false_calls:
        yield ""
        yield f"{'called though not trained on':42}{'images':27}correlation with nearest trained image"
        for call in report.false_calls:
            yield f"{call.sha256} {call.verdict:25}{call.group:27}{call.nearest_similarity:.3f}"
    yield from goal_lines(report.targets)


def rate_lines(title: str, rates: Sequence[MeasuredRate]) -> Iterator[str]:
    """One proportion per line."""
    yield f"{title:41}{'images':27}  k / n      rate   95 % interval"
    for one in rates:
        yield (
            f"{one.name:41}{one.group:27} {one.hits:3} / {one.n:<4} {one.rate:7.1%}   {one.low:.1%} to {one.high:.1%}"
        )


def goal_lines(targets: Sequence[Goal]) -> Iterator[str]:
    """List goals with what was wanted and what was measured."""
    if targets:
        yield ""
        yield "goals"
    for target in targets:
        yield f"{'met   ' if target.met else 'MISSED'} {target.name}: wanted {target.wanted}, got {target.got}"


def _area(found: Separation | None) -> str:
    if found is None:
        return "-"
    return f"{found.auc:.3f} ({found.low:.3f}-{found.high:.3f}) {found.positives}/{found.negatives}"


def point_lines(points: Sequence[BudgetPoint]) -> Iterator[str]:
    """One design at one budget per line, with p-value rates where there are controls."""
    calibrated = any(point.controls for point in points)
    last = "TPR, FPR at p <= 0.05" if calibrated else "faint against held out: AUC, n"
    yield f"{'design':44}{'score':17}{'steps':>5} {'evaluations':>11}  {'memorised against held out: AUC, n':36}{last}"
    for point in points:
        if point.score == NEAREST:
            continue
        tail = _area(point.faint)
        if calibrated:
            rates = zip(point.detected[-1:], point.false[-1:], strict=True)
            tail = next((f"{d.hits}/{d.n} {d.rate:.0%}, {f.hits}/{f.n} {f.rate:.1%}" for d, f in rates), "-")
        yield (
            f"{point.design[:43]:44}{point.score[:16]:17}{point.steps:5} {point.evaluations:11}  "
            f"{_area(point.held_out):36}{tail}"
        )


def budget_lines(report: BudgetReport) -> Iterator[str]:
    """Separation per budget, and what comes out."""
    yield from point_lines(report.points)
    yield ""
    yield from rate_lines("a sample lands on the image after", report.forced)
    yield ""
    if report.begins is None:
        yield "no held-out image came out at any budget"
    else:
        yield f"held-out images begin to come out after {report.begins} steps"


def frontier_lines(report: FrontierReport) -> Iterator[str]:
    """All points, cheapest first, and the comparison with the published protocols."""
    yield from point_lines(report.points)
    yield from goal_lines(report.targets)


def speed_lines(report: SpeedReport) -> Iterator[str]:
    """One stage per line."""
    yield f"{report.images} images, batch {report.batch_size}, protocol {report.protocol_hash[:16]}, {report.hardware}"
    yield ""
    yield f"{'stage':24}{'seconds':>9}{'network evaluations':>21}{'raw seconds':>13}{'ratio':>8}"
    for stage in report.stages:
        ratio = f"{stage.ratio:.2f}" if stage.ratio is not None else "-"
        yield (f"{stage.name:24}{stage.seconds:9.2f}{stage.network_evaluations:21}{stage.raw_seconds:13.2f}{ratio:>8}")
    yield ""
    yield f"stages with network passes: {report.network_ratio:.2f} x raw network time"
    yield f"everything: {report.total_ratio:.2f} x raw network time"
    yield from goal_lines(report.targets)


def error_lines(report: ErrorReport) -> Iterator[str]:
    """Realised false discovery, power, bank against fresh images, hopes."""
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
    yield from rate_lines("the whole rule, p in place of q", report.rule)
    yield from goal_lines(report.targets)


def ladder_lines(report: LadderReport) -> Iterator[str]:
    """Rates per rung, the lowest rung that stands, hopes."""
    yield (
        f"lab {report.lab}, seed {report.seed}, {report.controls} controls in the bank, prompts of {report.words} "
        f"words searched with {report.evaluations} network evaluations"
    )
    carried = ", ".join(f"{rung.value} {bits:,.0f}" for rung, bits in report.bits.items())
    yield f"bits that can be carried: {carried}; {report.network_evaluations_per_image} network evaluations per image"
    for title, rows in (("per rung", report.rates), ("lowest rung that stands", report.lowest)):
        yield ""
        yield from rate_lines(title, rows)
    yield from goal_lines(report.targets)


def prompt_lines(report: PromptReport) -> Iterator[str]:
    """Images that come out, per number of words and budget."""
    yield from rate_lines(f"a near copy among {report.seed_images} images", report.rates)

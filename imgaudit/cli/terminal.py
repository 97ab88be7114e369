"""Print to the terminal: results on stdout, notes and progress on stderr, outside text always as plain text."""

import textwrap
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from imgaudit.cli.names import Name
from imgaudit.cli.pace import Activity, Pace, format_duration, repeating
from imgaudit.schema.error_checks import ForcingCheck
from imgaudit.schema.findings import AuditResult, Finding, Verdict
from imgaudit.schema.records import Skipped
from imgaudit.schema.replication import PartReplication, Replication
from imgaudit.schema.text import as_sentence, file_name, printable

WIDTH = 80
"""Columns of text that is wrapped."""

STYLES = {
    Verdict.REPLICATED: "bold red",
    Verdict.REPLICATED_BY_INVERSION: "red",
    Verdict.PARTIAL: "red",
    Verdict.ATYPICAL: "yellow",
    Verdict.NOT_REPRODUCED: "default",
    Verdict.INCONCLUSIVE: "magenta",
    Verdict.SKIPPED: "magenta",
}


def notes() -> Console:
    """Return the console for everything that is not a result."""
    return Console(stderr=True, highlight=False)


def plain(text: str) -> Text:
    """Return outside text with control characters as escapes, never interpreted as markup."""
    return Text(printable(text))


def print_error(message: str) -> None:
    """Print an error."""
    notes().print(Text("imgaudit: ", style="bold red") + plain(message), soft_wrap=True)


def print_wrapped(text: str) -> None:
    """Print a line of a text on stdout, wrapped at 80 columns; further lines are indented by two more."""
    shown = plain(text).plain
    indent = shown[: len(shown) - len(shown.lstrip())]
    lines = textwrap.wrap(
        shown, WIDTH, subsequent_indent=indent + "  ", break_long_words=False, break_on_hyphens=False
    )  # fmt: skip
    typer.echo("\n".join(lines))


def say(message: str, *, quiet: bool = False) -> None:
    """Print a note."""
    if not quiet:
        notes().print(plain(message), soft_wrap=True)


class _TimeLeft(ProgressColumn):
    """About how long the rest takes; it counts down while a long step runs."""

    def render(self, task: Task) -> Text:
        left = task.fields["pace"].seconds_left
        return Text("estimating" if left is None else f"{format_duration(left)} left", style="cyan")


class _Doing(ProgressColumn):
    """The work's name, and the step that it is at."""

    def render(self, task: Task) -> Text:
        step = task.fields["activity"].step
        return plain(f"{task.description}: {step}" if step else task.description)


@contextmanager
def progress(
    label: str, *, quiet: bool = False, activity: Activity | None = None
) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on a terminal; elsewhere print a line with the time every 30 seconds, so that logs show life.

    activity:  the step that the work is at, where it tells
    """
    activity = activity or Activity()
    console, pace = notes(), Pace()
    if quiet:
        yield lambda done, total: None
        return
    if not console.is_terminal:

        def line() -> None:
            if said := "; ".join(filter(None, (pace.describe() if pace.total else "", activity.describe()))):
                _say_now(f"{label}: {said}")

        def count(done: int, total: int) -> None:
            pace.count(done, total)
            if done == total:
                _say_now(f"{label}: {pace.describe()}")

        with repeating(line):
            yield count
        return
    columns = (
        _Doing(),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        _TimeLeft(),
    )
    with Progress(*columns, console=console) as bars:
        task = bars.add_task(plain(label).plain, total=None, pace=pace, activity=activity)

        def advance(done: int, total: int) -> None:
            pace.count(done, total)
            bars.update(task, completed=done, total=total)

        yield advance


def _say_now(message: str) -> None:
    """Print a note with the time."""
    say(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {message}")


@contextmanager
def waiting(label: str, *, quiet: bool = False) -> Iterator[None]:
    """Say what one step does that cannot tell how far it is, and every 30 seconds that it goes on."""
    if quiet:
        yield
        return
    say(label)
    began = time.monotonic()
    with repeating(lambda: _say_now(f"still {label}, {format_duration(time.monotonic() - began)} so far")):
        yield


@contextmanager
def stage_progress(
    *, quiet: bool = False, activity: Activity | None = None
) -> Iterator[Callable[[str, int, int], None]]:
    """A bar, or lines, for each stage of work in turn; where the work tells its steps, also before the first stage."""
    with ExitStack() as bars:
        if activity is not None:
            bars.enter_context(progress("preparing", quiet=quiet, activity=activity))
        shown: dict[str, Callable[[int, int], None]] = {}

        def advance(stage: str, done: int, total: int) -> None:
            if stage not in shown:
                bars.close()
                shown[stage] = bars.enter_context(progress(stage, quiet=quiet, activity=activity))
            shown[stage](done, total)

        yield advance


def format_number(value: float | Skipped, pattern: str = ".3g") -> str:
    """Return a measured number as text, or a dash for what was not measured."""
    return "-" if isinstance(value, Skipped) else format(value, pattern)


def make_table(*headings: str, whole: Collection[str] = ()) -> Table:
    """Return a table without lines, with these columns.

    whole:  headings of columns that are never wrapped
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading in whole)
    return table


def _replication_text(finding: Finding) -> str:
    rates: list[tuple[str, Replication | PartReplication]] = [(r.rung.value, r) for r in finding.replication]
    for replication in finding.replication:
        if isinstance(part := replication.part, PartReplication) and part.stands:
            rates.append((f"part of it, {replication.rung.value}", part))
            break
    return "\n".join(f"{label} {r.hits}/{r.n} [{r.low:.0%}, {r.high:.0%}]" for label, r in rates) or "-"


def _print_streams(console: Console, result: AuditResult) -> None:
    """Print which text streams carry the copies, where that was measured."""
    carried = [(f.path, one.stream_rates) for f in result.findings for one in f.replication if one.stream_rates]
    if not carried:
        return
    # Imported here, so that --help stays free of what reports need.
    from imgaudit.report.wording import STREAMS_LIMIT, stream_text

    console.print()
    for path, rates in carried:
        console.print(plain(f"which text stream carries the copies of {file_name(path)}: {stream_text(rates)}"))
    console.print(plain(STREAMS_LIMIT))


def _print_invmm(console: Console, result: AuditResult) -> None:
    """Print how far InvMM moved the initial noise, where that was measured."""
    if not (moved := [(finding.path, finding.invmm) for finding in result.findings if finding.invmm]):
        return
    # Imported here, so that --help stays free of what reports need.
    from imgaudit.report.wording import INVMM_LIMIT, INVMM_MEANING, invmm_text

    console.print()
    for path, found in moved:
        console.print(plain(f"InvMM of {file_name(path)}: {invmm_text(found)}"))
    console.print(plain(f"{INVMM_MEANING} {INVMM_LIMIT}"))


def _common_skip(result: AuditResult) -> Text | None:
    """Return the one reason for which every image was skipped, if there is one, in place of a table."""
    reasons = {finding.reason for finding in result.findings}
    if len(result.findings) < 2 or len(reasons) > 1:
        return None
    if any(finding.verdict is not Verdict.SKIPPED for finding in result.findings):
        return None
    return plain(f"all {len(result.findings)} images were skipped for the same reason: {reasons.pop()}")


def _score_text(result: AuditResult) -> str:
    """Say which search and baseline the scores have; empty where no image has a score."""
    # Imported here, so that --help stays free of what reports need.
    from imgaudit.schema.score_search import describe_score, search_of

    baselines = {finding.error.baseline for finding in result.findings if not isinstance(finding.error, Skipped)}
    return describe_score(search_of(result.protocol, result.run["model"]["prediction_type"]), baselines)


def _findings(result: AuditResult) -> Table:
    # Imported here, so that --help stays free of what decisions need.
    from imgaudit.decision.deciding_number import find_deciding_number

    table = make_table("verdict", "image", "corrected p", "copies of seeds, 95 % interval", whole=("verdict",))
    table.columns[2].min_width = 9
    order = list(Verdict)
    for finding in sorted(result.findings, key=lambda f: (order.index(f.verdict), f.path)):
        table.add_row(
            Text(finding.verdict.value, style=STYLES[finding.verdict]),
            Name(finding.path),
            format_number(find_deciding_number(finding, result.policy.level).value),
            _replication_text(finding) if finding.verdict is not Verdict.SKIPPED else plain(finding.reason),
        )
    return table


def print_result(result: AuditResult) -> None:
    """Print the table of findings on stdout, and the counts with what they rest on."""
    # Imported here, so that --help stays free of the report.
    from imgaudit.report.wording import controls_text, controls_used_text, false_positive_text

    console = Console(highlight=False)
    console.print(_common_skip(result) or _findings(result))
    _print_streams(console, result)
    _print_invmm(console, result)
    summary = result.summary
    counts = ", ".join(f"{count} {verdict.value}" for verdict, count in summary.counts.items() if count)
    console.print()
    console.print(plain(f"{summary.targets} images: {counts}"))
    if result.redecided:
        console.print(plain(f"decided again by another policy than before the run: {'; '.join(result.redecided)}"))
    if score := _score_text(result):
        console.print(plain(score))
    console.print(plain(controls_used_text(result)))
    if summary.controls:
        console.print(plain(false_positive_text(summary)))
    if works := controls_text(summary):
        console.print(plain(works))
    if isinstance(check := summary.forcing, ForcingCheck):
        # Imported here, so that --help stays free of numpy.
        from imgaudit.statistics import clopper_pearson

        low, high = clopper_pearson(check.called, check.n)
        rate = f"at most {high:.1%}" if check.called == 0 else f"{low:.1%} to {high:.1%}"
        console.print(
            plain(
                f"error check: {check.called} false copies among {check.n} unseen images, {rate}, with 95 % confidence"
                + ("" if isinstance(check.parts, Skipped) else f", {check.parts} in part")
                + f"; inversion copied {check.copies} before the other rules were applied"
            )
        )
    if summary.blind_comparison:
        console.print(plain(summary.blind_comparison))
    for alarm in summary.alarms:
        console.print(Text("alarm: ", style="bold yellow") + plain(as_sentence(alarm.message)))

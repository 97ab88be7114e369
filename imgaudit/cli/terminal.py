"""Print to the terminal: results on stdout, notes and progress on stderr, outside text always as plain text.

One rule holds on a terminal and in a pipe: prose is wrapped at 80 columns, and data is not. Data are the lines that
programs read (JSON, CSV, rows), and what is copied in one piece: a path, a digest, a command.
"""

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from imgaudit.cli.names import Name, shorten_middle
from imgaudit.cli.pace import Activity, Pace, format_duration, repeating
from imgaudit.schema.error_checks import ForcingCheck
from imgaudit.schema.findings import AuditResult, Finding, Verdict
from imgaudit.schema.records import Skipped
from imgaudit.schema.replication import PartReplication, Replication
from imgaudit.schema.text import WIDTH, as_sentence, file_name, printable, wrap_prose

DOING_WIDTH = 36
"""Columns of the name of work beside its bar, which leave room for numbers and times."""

STYLES = {
    Verdict.REPLICATED: "bold red",
    Verdict.REPLICATED_BY_INVERSION: "red",
    Verdict.PARTIAL: "red",
    Verdict.ATYPICAL: "yellow",
    Verdict.NOT_REPRODUCED: "default",
    Verdict.INCONCLUSIVE: "magenta",
    Verdict.SKIPPED: "magenta",
}


_live: list[Console] = []
"""The console on which a bar is drawn now, if there is one."""


def notes() -> Console:
    """Return the console for everything that is not a result."""
    # Only the console that draws a bar can print above it; another would print behind it, on the same line.
    return _live[-1] if _live else Console(stderr=True, highlight=False)


def plain(text: str) -> Text:
    """Return outside text with control characters as escapes, never interpreted as markup."""
    return Text(printable(text))


def wrap(text: str, whole: str = "", indent: str = "") -> str:
    """Wrap a line of prose at 80 columns; further lines are indented by two more.

    whole:   what follows in one piece, on the last line or on one of its own
    indent:  more than two columns for further lines

    >>> print(wrap("report:", "a/run/report/index.html"))
    report: a/run/report/index.html
    """
    shown = printable(text)
    indent = indent or shown[: len(shown) - len(shown.lstrip())] + "  "
    lines = wrap_prose(shown, indent)
    if whole:
        apart = not lines or len(lines[-1]) + 1 + len(whole) > WIDTH
        lines = [*lines, indent + printable(whole)] if apart else [*lines[:-1], f"{lines[-1]} {printable(whole)}"]
    return "\n".join(lines)


def print_error(message: str, whole: str = "") -> None:
    """Print an error.

    whole:  what follows in one piece, such as a command
    """
    shown = Text(wrap(f"imgaudit: {message}", whole))
    shown.stylize("bold red", 0, len("imgaudit:"))
    notes().print(shown, soft_wrap=True)


def print_wrapped(text: str, whole: str = "", indent: str = "") -> None:
    """Print a line of prose on stdout, wrapped as by `wrap`."""
    typer.echo(wrap(text, whole, indent))


def print_labelled(label: str, text: str, style: str) -> None:
    """Print a line of prose on stdout, wrapped, with its beginning in a style; all of it where the text is empty."""
    shown = Text(wrap(label + text))
    shown.stylize(style, 0, len(label) if text else len(shown))
    Console(highlight=False).print(shown, soft_wrap=True)


def say(message: str, whole: str = "", *, quiet: bool = False) -> None:
    """Print a note.

    whole:  what follows in one piece, such as a path
    """
    if not quiet:
        notes().print(Text(wrap(message, whole)), soft_wrap=True)


class _TimeLeft(ProgressColumn):
    """About how long the rest takes; it counts down while a long step runs."""

    def render(self, task: Task) -> Text:
        pace = task.fields["pace"]
        if left := pace.seconds_left:
            return Text(f"{format_duration(left)} left", style="cyan")
        # A piece that takes longer than those before leaves nothing to count down.
        return Text("finished" if pace.total and pace.done >= pace.total else "estimating", style="cyan")


class _Doing(ProgressColumn):
    """The work's name, and the step that it is at."""

    def render(self, task: Task) -> Text:
        step = task.fields["activity"].step
        shown = f"{task.description}: {step}" if step else task.description
        if step and len(shown) > DOING_WIDTH:
            # The last word of a stage tells it from others, as in "measuring controls".
            shown = f"{task.description.split()[-1]}: {step}"
        return plain(shorten_middle(shown, DOING_WIDTH))


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
            again = done == pace.done and total == pace.total
            pace.count(done, total)
            if done == total and not again:
                _say_now(f"{label}: {pace.describe()}")

        with repeating(line):
            yield count
        return
    whole = [column(table_column=Column(no_wrap=True)) for column in (MofNCompleteColumn, TimeElapsedColumn, _TimeLeft)]
    # The bar takes what the words leave: one line, however narrow the terminal is.
    columns = (_Doing(Column(no_wrap=True)), BarColumn(bar_width=None, table_column=Column(ratio=1)), *whole)
    with Progress(*columns, console=console, expand=True) as bars:
        task = bars.add_task(plain(label).plain, total=None, pace=pace, activity=activity)

        def advance(done: int, total: int) -> None:
            pace.count(done, total)
            bars.update(task, completed=done, total=total)

        _live.append(console)
        try:
            yield advance
        finally:
            _live.remove(console)


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
    if finding.scored_only:
        return "scored only"
    return "\n".join(_rate_text(label, r) for label, r in rates) or "-"


def _rate_text(label: str, counted: Replication | PartReplication) -> str:
    if isinstance(counted.thresholds, Skipped):
        return f"{label} not counted"
    return f"{label} {counted.hits}/{counted.n} [{counted.low:.0%}, {counted.high:.0%}]"


def _print_streams(console: Console, result: AuditResult) -> None:
    """Print which text streams carry the copies, where that was measured."""
    carried = [(f.path, one.stream_rates) for f in result.findings for one in f.replication if one.stream_rates]
    if not carried:
        return
    # Imported here, so that --help stays free of what reports need.
    from imgaudit.report.wording import STREAMS_LIMIT, stream_text

    console.print()
    for path, rates in carried:
        print_wrapped(f"which text stream carries the copies of {file_name(path)}: {stream_text(rates)}")
    print_wrapped(STREAMS_LIMIT)


def _print_invmm(console: Console, result: AuditResult) -> None:
    """Print how far InvMM moved the initial noise, where that was measured."""
    if not (moved := [(finding.path, finding.invmm) for finding in result.findings if finding.invmm]):
        return
    # Imported here, so that --help stays free of what reports need.
    from imgaudit.report.wording import INVMM_LIMIT, INVMM_MEANING, invmm_text

    console.print()
    for path, found in moved:
        print_wrapped(f"InvMM of {file_name(path)}: {invmm_text(found)}")
    print_wrapped(f"{INVMM_MEANING} {INVMM_LIMIT}")


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

    table = make_table("verdict", "image", "deciding q", "copies, 95 % interval", whole=("verdict",))
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
    from imgaudit.report.alarm_wording import sort_alarms
    from imgaudit.report.answer import count_close
    from imgaudit.report.copy_counts import explain_uncounted
    from imgaudit.report.set_level import set_level_pointer
    from imgaudit.report.wording import blind_comparison_text, controls_text, controls_used_text, false_positive_text

    console = Console(highlight=False)
    console.print(_common_skip(result) or _findings(result))
    _print_streams(console, result)
    _print_invmm(console, result)
    summary = result.summary
    counts = ", ".join(f"{count} {verdict.value}" for verdict, count in summary.counts.items() if count)
    console.print()
    scored = f"; {summary.scored_only} of them scored only, with nothing generated" if summary.scored_only else ""
    print_wrapped(f"{summary.targets} images: {counts}{scored}")
    if close := count_close(result.findings):
        print_wrapped(f"near-identical images were generated for {close} of the inconclusive ones: look at these first")
    if result.redecided:
        print_wrapped(f"decided again by another policy than before the run: {'; '.join(result.redecided)}")
    for reason in explain_uncounted(result):
        print_wrapped(reason)
    if score := _score_text(result):
        print_wrapped(score)
    print_wrapped(controls_used_text(result))
    if summary.controls:
        print_wrapped(false_positive_text(summary))
    if works := controls_text(summary):
        print_wrapped(works)
    if isinstance(check := summary.forcing, ForcingCheck):
        # Imported here, so that --help stays free of numpy.
        from imgaudit.statistics import clopper_pearson

        low, high = clopper_pearson(check.called, check.n)
        rate = f"at most {high:.1%}" if check.called == 0 else f"{low:.1%} to {high:.1%}"
        print_wrapped(
            f"error check: of {check.n} controls that were kept out, the rule calls {check.called} reproduced by "
            f"inversion ({rate} of such images, with 95 % confidence)"
            + ("" if isinstance(check.parts, Skipped) else f", and {check.parts} in part")
            + f"; {check.copies} gave a copy before the other rules were applied"
        )
    if fair := blind_comparison_text(summary):
        print_wrapped(fair)
    if as_set := set_level_pointer(summary):
        print_wrapped(as_set)
    for alarm in sort_alarms(summary.alarms):
        print_labelled("alarm: ", as_sentence(alarm.message), "bold yellow")

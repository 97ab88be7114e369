"""`imgaudit compare`: the same images on two models or versions; what changed, and what could not be compared."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from imgaudit.cli.exit_codes import FailOnChange, find_comparison_exit_code
from imgaudit.cli.names import Name
from imgaudit.cli.paths import require_new_folder, require_present
from imgaudit.cli.signatures import Heading, argument, option
from imgaudit.cli.terminal import format_number, make_table, plain, print_labelled, print_wrapped
from imgaudit.exceptions import InputError
from imgaudit.schema.comparison import Change, Comparison, DifferenceEffect, ImageComparison

DEFAULT_FOLDER = Path("imgaudit-comparison")

MOST_REASONS = 5
"""Reasons why images cannot be compared that are printed."""

LONGEST = 24
"""Letters of a verdict with its rung on one line."""

STYLES = {
    Change.APPEARED: "bold red",
    Change.DISAPPEARED: "bold",
    Change.LOWER_RUNG: "red",
    Change.HIGHER_RUNG: "bold",
    Change.OTHER_VERDICT: "yellow",
    Change.RATE_CHANGED: "yellow",
    Change.UNCHANGED: "",
    Change.NOT_COMPARABLE: "magenta",
}

EFFECTS = {
    DifferenceEffect.PREVENTS: ("not comparable", "bold red"),
    DifferenceEffect.MAY_EXPLAIN: ("differs too", "bold yellow"),
    DifferenceEffect.NOTED: ("note", "bold"),
}


def register(app: typer.Typer, heading: str) -> None:
    """Add the command."""
    app.command(name="compare", rich_help_panel=heading)(_compare)


def _compare(
    run_a: Annotated[Path, argument("RUN_A", help="Run folder of the first model, or of the audit before a change.",
        callback=require_present)],
    run_b: Annotated[Path, argument("RUN_B", help="Run folder of the second model, or of the audit after it.",
        callback=require_present)],
    kind: Annotated[str, option(Heading.OUTPUT, "table, json or markdown, printed, or html, written into --out.",
        "--format", "-f", metavar="NAME")] = "table",
    out: Annotated[Path | None, option(Heading.OUTPUT, "Folder for --format html.", "--out", "-o", metavar="FOLDER",
        default=DEFAULT_FOLDER, callback=require_new_folder)] = None,
    fail_on: Annotated[FailOnChange, option(Heading.OUTPUT, "For scripts: exit with code 1 "
        "for appeared, or for changed (any change); or never: exit with code 0 whatever was found.",
        metavar="WHAT")] = FailOnChange.APPEARED,
) -> None:  # fmt: skip
    """Compare two finished runs image by image. Needs no model, and does not change the runs."""
    from imgaudit.api import compare
    from imgaudit.report import ComparisonFormat, render_comparison, write_comparison
    from imgaudit.runs.folder import RunFolder

    known = ["table", *ComparisonFormat]
    if kind not in known:
        raise InputError(f"--format must be one of {', '.join(known)}, but got {kind!r}")
    if out is not None and kind != ComparisonFormat.HTML:
        raise InputError(f"--out is the folder of --format html, but the format is {kind}")
    comparison = compare(run_a, run_b)
    if kind == "table":
        print_comparison(comparison)
    elif kind == ComparisonFormat.HTML:
        typer.echo(write_comparison(out or DEFAULT_FOLDER, comparison, RunFolder(run_a), RunFolder(run_b)))
    else:
        typer.echo(render_comparison(comparison, ComparisonFormat(kind)), nl=False)
    raise typer.Exit(find_comparison_exit_code(comparison, fail_on))


def print_comparison(comparison: Comparison) -> None:
    """Print what differs besides the model, then the table of images, then the counts with what they rest on."""
    console = Console(highlight=False)
    for name, run in (("A", comparison.a), ("B", comparison.b)):
        words = f"{run.model} {run.fingerprint[:16]}, seed {run.seed}, {run.controls} controls, {run.folder}"
        print_labelled(f"{name}: ", words, "bold")
    if comparison.same_model:
        why = "seeds" if comparison.a.seed != comparison.b.seed else "what is listed next"
        words = f"same model in both runs (same fingerprint): differences are due to {why}, not to the model"
        print_labelled(words, "", "bold yellow")
    for one in comparison.differences:
        label, style = EFFECTS[one.effect]
        print_labelled(f"{label}: ", f"{one.subject}: {one.message}", style)
    if not comparison.differences:
        console.print("nothing that the runs record differs besides the model")
    console.print()
    console.print(_table(comparison))
    console.print()
    _print_counts(comparison)


def _table(comparison: Comparison) -> Table:
    what, copies = "change, verdict", "copies in A, in B\nB - A, interval"
    table = make_table(what, "image", copies, "q", whole=(what, copies, "q"))
    for image in comparison.images:
        # Few columns of two lines and more leave room for the name, which is what a reader looks for.
        change = Text(image.change.value, style=STYLES[image.change]) + Text("\n") + _verdicts(image)
        table.add_row(change, Name(image.name), *_rates(image))
    return table


def _verdicts(image: ImageComparison) -> Text:
    """Return the verdict of both runs, or of each where they differ, a line each."""
    # Imported here, so that --help stays free of jinja2 and what it brings.
    from imgaudit.report.comparison import verdict_text

    words = (verdict_text(side).replace("_", " ") for side in (image.a, image.b))
    a, b = (plain(one) if len(one) <= LONGEST else Text("\n(").join(map(plain, one.split(" ("))) for one in words)
    return a if a == b else Text("A: ") + a + Text("\nB: ") + b


def _rates(image: ImageComparison) -> tuple[Text, ...]:
    rung = image.shown
    if rung is None:
        return plain("-"), plain("-")
    counts = f"{rung.rung.value} {rung.a.hits}/{rung.a.n}, {rung.b.hits}/{rung.b.n}"
    return (
        plain(counts) + Text("\n") + plain(f"{rung.difference:+.0%} [{rung.low:+.0%}, {rung.high:+.0%}]"),
        plain(format_number(image.q_value) + (" *" if image.rates_differ else "")),
    )


def _print_counts(comparison: Comparison) -> None:
    # Imported here, as what it counts with brings scipy.
    from imgaudit.runs.comparison.retention import retention_text

    left_out = [image for image in comparison.images if image.change is Change.NOT_COMPARABLE]
    names: dict[str, list[str]] = {}
    for image in left_out:
        names.setdefault(image.reason, []).append(image.name)
    for reason, found_in in islice(names.items(), MOST_REASONS):
        what = found_in[0] if len(found_in) == 1 else f"{len(found_in)} images"
        print_wrapped(f"{what}: {reason}")
    if len(names) > MOST_REASONS:
        print_wrapped(f"and {len(names) - MOST_REASONS} more reasons, which --format markdown gives for every image")
    if left_out:
        found = comparison.reproduced_but_not_compared
        words = (
            "read these neither as unchanged nor as no longer reproduced: "
            f"A reproduces {found['a']} and B reproduces {found['b']} of these"
        )
        print_labelled(f"{len(left_out)} cannot be compared: ", words, "bold magenta")
    counts = ", ".join(f"{count} {change.value}" for change, count in comparison.counts.items() if count)
    matched = f"{comparison.a.files} in A, {comparison.b.files} in B, {comparison.matched} in both"
    print_wrapped(f"{comparison.total} images in A or B ({matched}): {counts}")
    print_labelled(retention_text(comparison.retention), "", "bold")
    if comparison.tested:
        print_wrapped(f"* the rates differ at level {comparison.level:g}. {comparison.test}")
    words = "not reproduced in B holds for its budget only: a verdict that went away is not an image that is gone"
    print_wrapped(words)

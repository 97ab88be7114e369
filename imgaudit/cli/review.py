"""`imgaudit review`: decisions of people on a finished run, in and out, how far they are, and what is handed on."""

import enum
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgaudit.cli.exit_codes import ExitCode
from imgaudit.cli.options import JsonReport, Run
from imgaudit.cli.paths import require_file, require_new, require_new_file
from imgaudit.cli.signatures import Heading, argument, flag, option
from imgaudit.cli.terminal import notes, plain, print_wrapped, say
from imgaudit.schema.records import Skipped
from imgaudit.schema.text import file_name

if TYPE_CHECKING:
    from imgaudit.report.review import ReviewStatus
    from imgaudit.report.review.status import DecidedImage

review = typer.Typer(help="Read, write and count reviewers' decisions, and pack the evidence.", no_args_is_help=True)

SHOWN = 20
"""Images of a kind that are listed on the terminal; all are in the JSON."""


class ExportFormat(enum.StrEnum):
    """Formats that `imgaudit review export` can write."""

    JSON = "json"
    CSV = "csv"


def register(app: typer.Typer, heading: str) -> None:
    """Add the group."""
    app.add_typer(review, name="review", rich_help_panel=heading)


@review.callback()
def _group() -> None:
    """Read, write and count reviewers' decisions, and pack the evidence."""


@review.command(name="import")
def import_(
    run: Run,
    files: Annotated[
        list[Path],
        argument(
            "FILE", help="decisions.json, as saved by the report or by `imgaudit review export`.", callback=require_file
        ),
    ],
    other_result: Annotated[
        bool,
        flag(
            Heading.INPUT,
            "Also take decisions that were made on an earlier result of this run, and mark them.",
            "--other-result",
        ),
    ] = False,
) -> None:
    """Check files of decisions and add them to RUN/review, each decision once."""
    from imgaudit.report.review import DecisionLedger, read_decisions_file, read_reviewed_run
    from imgaudit.runs.history import Invocation

    reviewed = read_reviewed_run(run)
    # Every file is checked before anything is written.
    given = [read_decisions_file(file, reviewed, other_result=other_result) for file in files]
    ledger, total = DecisionLedger(reviewed.folder, reviewed.run_id), 0
    with Invocation(reviewed.folder, "review import", sys.argv) as invocation:
        invocation.start()
        for file, decisions in zip(files, given, strict=True):
            added = ledger.append(decisions)
            invocation.changes["decisions_added"] = total = total + added
            marked = sum(one.result_sha256 != reviewed.result_sha256 for one in decisions)
            note = f", {marked} of them on another result" if marked else ""
            typer.echo(plain(f"{file.name}: {added} added, {len(decisions) - added} there already{note}").plain)
    raise typer.Exit(ExitCode.DECIDED)


@review.command()
def export(
    run: Run,
    kind: Annotated[ExportFormat, option(Heading.OUTPUT, "json, which can be imported, or csv.", "--format", "-f",
        metavar="NAME")] = ExportFormat.JSON,
    output: Annotated[Path | None, option(Heading.OUTPUT, "File to write.", "--output", "-o", metavar="FILE",
        default="printed", callback=require_new_file)] = None,
) -> None:  # fmt: skip
    """Write every decision ever made on a run, including decisions that were replaced later."""
    from imgaudit.io.writing import write_atomically
    from imgaudit.report.review import DecisionLedger, read_reviewed_run, write_decisions_file

    reviewed = read_reviewed_run(run)
    ledger = DecisionLedger(reviewed.folder, reviewed.run_id).read()
    _say_damaged([f"line {line.number}: {line.why}" for line in ledger.damaged])
    if kind is ExportFormat.JSON:
        text = write_decisions_file(reviewed.run_id, ledger.history)
    else:
        from imgaudit.report.review.exchange import render_decisions_csv

        text = render_decisions_csv(reviewed.result, ledger, reviewed.result_sha256)
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_atomically(output, text)
        say(f"{len(ledger.history)} decisions in {output}")
    raise typer.Exit(ExitCode.DECIDED)


@review.command()
def status(run: Run, json_output: JsonReport = False) -> None:
    """Show how many images reviewers have decided, and where they disagree.

    For scripts: the exit code is 3 until every image has a decision.
    """
    from imgaudit.report.review import DecisionLedger, read_reviewed_run, review_status

    reviewed = read_reviewed_run(run)
    ledger = DecisionLedger(reviewed.folder, reviewed.run_id).read()
    found = review_status(reviewed, ledger)
    if json_output:
        typer.echo(found.model_dump_json(indent=2))
    else:
        _print(found)
    raise typer.Exit(ExitCode.DECIDED if found.decided == found.images else ExitCode.INCOMPLETE)


@review.command()
def package(
    run: Run,
    image: Annotated[str, argument("IMAGE", help="Id, SHA-256 or file name of the image.")],
    output: Annotated[Path | None, option(Heading.OUTPUT, "New folder, or a .zip file.", "--output", "-o",
        metavar="FOLDER", default="complaint-ID", callback=require_new)] = None,
    whole_manifest: Annotated[bool, flag(Heading.OUTPUT, "Copy all of manifest.json, which "
        "names every folder and file that was audited.", "--whole-manifest")] = False,
) -> None:  # fmt: skip
    """Collect what a complaint about one image needs: a statement with its images, records and digests."""
    from imgaudit.report.complaint.package import find_image, make_package, write_package
    from imgaudit.runs.finished import read_finished_run
    from imgaudit.schema.comparison import REPRODUCED

    finished = read_finished_run(run)
    finding = find_image(finished, image)
    files = make_package(finished, finding, whole_manifest=whole_manifest)
    written = write_package(files, output or Path(f"complaint-{finding.id}"), finished)
    if finding.verdict not in REPRODUCED:
        say(f"note: the verdict is {finding.verdict.value}: this does not show that the model reproduces the image")
    typer.echo(plain(str(written)).plain)
    raise typer.Exit(ExitCode.DECIDED)


def _say_damaged(damaged: list[str]) -> None:
    for line in damaged:
        notes().print(plain(f"damaged, not counted: {line}"), soft_wrap=True)


def _print(found: "ReviewStatus") -> None:
    lines = [
        f"{found.decided} of {found.images} images decided: {found.accepted} accepted, {found.disputed} disputed, "
        f"{found.unsure} unsure, {found.contested} on which reviewers disagree",
        *(f"{name}: {count} images" for name, count in found.reviewers.items()),
        *_listed("reviewers disagree on", found.between_reviewers),
        *_listed("reviewers dispute the verdict on", found.against_the_machine),
    ]
    for one in found.levels:
        kappa = one.kappa.skipped if isinstance(one.kappa, Skipped) else f"{one.kappa:.2f}"
        lines.append(
            f"replication levels of {one.reviewers[0]} and {one.reviewers[1]}: the same on {one.same} of n = {one.n} "
            f"images, Cohen's kappa with quadratic weights: {kappa}"
        )
    if found.on_another_result:
        lines.append(f"{found.on_another_result} decisions were made on an earlier result of this run")
    lines.append(f"{found.history} decisions in all, including those that were replaced")
    for line in lines:
        print_wrapped(line)
    _say_damaged(found.damaged)


def _listed(what: str, images: list["DecidedImage"]) -> list[str]:
    lines = []
    for image in images[:SHOWN]:
        name = file_name(image.path)
        said = ", ".join(f"{one.reviewer} {one.decision.value}" for one in image.decisions)
        lines.append(f"{what} {name} ({image.id}, {image.machine_verdict.value}): {said}")
    if len(images) > SHOWN:
        lines.append(f"{what} {len(images) - SHOWN} more: --json lists them")
    return lines

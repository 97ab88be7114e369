"""`imgaudit review`: decisions of people on a finished run, in and out, how far they are, and what is handed on."""

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgaudit.cli.exit_codes import ExitCode
from imgaudit.cli.terminal import plain, say, talk
from imgaudit.schema.records import Skipped

if TYPE_CHECKING:
    from imgaudit.report.review import ReviewStatus
    from imgaudit.report.review.status import DecidedImage

review = typer.Typer(help="Decisions of people on a finished run.", no_args_is_help=True)

Run = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of a finished audit.")]

SHOWN = 20
"""Images of a kind that are listed on the terminal; all are in the JSON."""


class ExportFormat(enum.StrEnum):
    """What `imgaudit review export` can write."""

    JSON = "json"
    CSV = "csv"


def register(app: typer.Typer, heading: str) -> None:
    """Add the group."""
    app.add_typer(review, name="review", rich_help_panel=heading)


@review.callback()
def _group() -> None:
    """Decisions of people on a finished run."""


@review.command(name="import")
def import_(
    run: Run,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="decisions.json, as a page or export saves it.")
    ],
    other_result: Annotated[
        bool, typer.Option("--other-result", help="Take decisions on another result of this run too, marked as such.")
    ] = False,
) -> None:
    """Check files of decisions and append them to RUN/review. What is there already is not added again."""
    from imgaudit.report.review import DecisionLedger, read_decisions_file, read_reviewed_run

    reviewed = read_reviewed_run(run)
    # Every file is checked before anything is written.
    given = [read_decisions_file(file, reviewed, other_result=other_result) for file in files]
    ledger = DecisionLedger(reviewed.folder, reviewed.run_id)
    for file, decisions in zip(files, given, strict=True):
        added = ledger.append(decisions)
        marked = sum(one.result_sha256 != reviewed.result_sha256 for one in decisions)
        note = f", {marked} of them on another result" if marked else ""
        typer.echo(plain(f"{file.name}: {added} added, {len(decisions) - added} there already{note}").plain)
    raise typer.Exit(ExitCode.DECIDED)


@review.command()
def export(
    run: Run,
    kind: Annotated[
        ExportFormat, typer.Option("--format", "-f", help="json can be imported again.")
    ] = ExportFormat.JSON,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File; by default stdout.")] = None,
) -> None:
    """Write every decision ever made on a run, those that were replaced included."""
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
def status(run: Run, json_output: Annotated[bool, typer.Option("--json", help="The status as JSON.")] = False) -> None:
    """Say how far a review is, and where people differ from each other or the machine; exits with 3 until done."""
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
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="Its id, SHA-256 or file name.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="New folder, or a .zip file; by default complaint-ID.")
    ] = None,
    whole_manifest: Annotated[
        bool, typer.Option("--whole-manifest", help="Copy manifest.json as it is, with every folder and file audited.")
    ] = False,
) -> None:
    """Put together what a complaint on one image needs: a statement with its pictures, records and digests."""
    from imgaudit.report.complaint.package import find_image, make_package, write_package
    from imgaudit.runs.finished import read_finished_run
    from imgaudit.schema.comparison import REPRODUCED

    finished = read_finished_run(run)
    finding = find_image(finished, image)
    files = make_package(finished, finding, whole_manifest=whole_manifest)
    written = write_package(files, output or Path(f"complaint-{finding.id}"), finished)
    if finding.verdict not in REPRODUCED:
        say(f"note: the verdict is {finding.verdict.value}: this package does not show that the model gives the work")
    typer.echo(plain(str(written)).plain)
    raise typer.Exit(ExitCode.DECIDED)


def _say_damaged(damaged: list[str]) -> None:
    for line in damaged:
        talk().print(plain(f"left out, and left where it is: {line}"), soft_wrap=True)


def _print(found: "ReviewStatus") -> None:
    lines = [
        f"{found.decided} of {found.images} images decided: {found.accepted} accepted, {found.disputed} disputed, "
        f"{found.unsure} unsure, {found.contested} where reviewers differ",
        *(f"{name}: {count} images" for name, count in found.reviewers.items()),
        *_listed("reviewers differ on", found.between_reviewers),
        *_listed("the machine's verdict is disputed on", found.against_the_machine),
    ]
    for one in found.levels:
        kappa = one.kappa.skipped if isinstance(one.kappa, Skipped) else f"{one.kappa:.2f}"
        lines.append(
            f"levels of {one.reviewers[0]} and {one.reviewers[1]}: the same on {one.same} of n = {one.n} images, "
            f"Cohen's kappa with quadratic weights: {kappa}"
        )
    if found.on_another_result:
        lines.append(f"{found.on_another_result} decisions were made on another result of this run than the one of now")
    lines.append(f"{found.history} decisions were made in all, those that were replaced included")
    for line in lines:
        typer.echo(plain(line).plain)
    _say_damaged(found.damaged)


def _listed(what: str, images: list["DecidedImage"]) -> list[str]:
    lines = []
    for image in images[:SHOWN]:
        name = image.path.replace("\\", "/").rsplit("/", 1)[-1]
        said = ", ".join(f"{one.reviewer} {one.decision.value}" for one in image.decisions)
        lines.append(f"{what} {name} ({image.id}, {image.machine_verdict.value}): {said}")
    if len(images) > SHOWN:
        lines.append(f"{what} {len(images) - SHOWN} more: --json lists them")
    return lines

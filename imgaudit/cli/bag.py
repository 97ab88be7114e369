"""`imgaudit bag`: a copy of a run, packed for handing over."""

from pathlib import Path
from typing import Annotated

import typer

from imgaudit.cli.exit_codes import ExitCode
from imgaudit.cli.options import Run
from imgaudit.cli.paths import require_new
from imgaudit.cli.signatures import Heading, option


def register(app: typer.Typer, heading: str) -> None:
    """Add the command."""
    app.command(name="bag", rich_help_panel=heading)(_bag)


def _bag(
    run: Run,
    output: Annotated[
        Path | None,
        option(Heading.OUTPUT, "New folder, or a .zip file.", "--output", "-o", metavar="FOLDER", default="run-ID",
               callback=require_new),
    ] = None,
) -> None:  # fmt: skip
    """Pack a copy of a run to hand over, with its signatures and timestamps, as a bag (BagIt). Verify checks it."""
    from imgaudit.cli.terminal import plain
    from imgaudit.runs.attestation.bag import make_bag
    from imgaudit.runs.finished import run_id
    from imgaudit.runs.folder import RunFolder

    folder = RunFolder(run)
    written = make_bag(folder, output or Path(f"run-{run_id(folder)}"))
    typer.echo(plain(str(written)).plain)
    raise typer.Exit(ExitCode.DECIDED)

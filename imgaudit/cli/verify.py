"""`imgaudit verify`: is a run folder what it was when it was finished?"""

from pathlib import Path
from typing import Annotated

import typer

from imgaudit.cli.exit_codes import ExitCode
from imgaudit.exceptions import InputError, VerificationError


def register(app: typer.Typer, heading: str) -> None:
    """Add the command."""
    app.command(name="verify", rich_help_panel=heading)(_verify)


def _verify(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of a finished audit.")],
    head: Annotated[
        str, typer.Option(help="Head of the evidence as it was noted elsewhere, or its first 12 digits or more.")
    ] = "",
    json_output: Annotated[bool, typer.Option("--json", help="The outcome as JSON.")] = False,
) -> None:
    """Compare every file of a run with its digest, and decide it again from its measurements. Needs no model."""
    from imgaudit.runs.evidence import verify_run
    from imgaudit.runs.folder import RunFolder

    if head and (len(head) < 12 or any(letter not in "0123456789abcdef" for letter in head.lower())):
        raise InputError(f"--head must be at least 12 hexadecimal digits, but got {head!r:.80}")
    outcome = verify_run(RunFolder(run), head)
    if json_output:
        typer.echo(outcome.model_dump_json(indent=2))
    else:
        typer.echo(f"{outcome.files} files, {outcome.findings} findings, head {outcome.head}")
        for problem in outcome.problems:
            typer.echo(ascii(problem)[1:-1])
    if not outcome.matches:
        raise VerificationError(f"{len(outcome.problems)} things in {str(run)!r} are not as they were")
    if not json_output:
        typer.echo("every file is as it was, and every verdict follows from what was measured")
    raise typer.Exit(ExitCode.DECIDED)

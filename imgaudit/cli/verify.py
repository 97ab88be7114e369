"""`imgaudit verify`: a check that a run folder is as it was when the audit finished."""

from pathlib import Path
from typing import Annotated

import typer

from imgaudit.cli.exit_codes import ExitCode
from imgaudit.cli.options import JsonReport, Run
from imgaudit.cli.signatures import Heading, option
from imgaudit.exceptions import VerificationError


def register(app: typer.Typer, heading: str) -> None:
    """Add the command."""
    app.command(name="verify", rich_help_panel=heading)(_verify)


def _verify(
    run: Run,
    head: Annotated[
        str,
        option(
            Heading.INPUT,
            "Evidence head that you noted elsewhere, or its first 12 digits or more, to compare with.",
            metavar="DIGITS",
            default="none",
        ),
    ] = "",
    key: Annotated[
        list[Path] | None,
        option(Heading.INPUT, "Public key, a PEM file, that must have signed the run; may be given several times.",
               "--key", metavar="FILE", default="none: signatures are listed, not checked"),
    ] = None,
    tsa_root: Annotated[
        list[Path] | None,
        option(Heading.INPUT, "Root certificate of a timestamp authority, a PEM or DER file; may be given several "
               "times.", "--tsa-root", metavar="FILE", default="none: timestamps are listed, not checked"),
    ] = None,
    json_output: JsonReport = False,
) -> None:  # fmt: skip
    """Check that a run has not changed: compare every file with its digest and decide again. Needs no model."""
    from imgaudit.api import verify

    outcome = verify(run, head, public_keys=key or (), tsa_roots=tsa_root or ())
    if json_output:
        typer.echo(outcome.model_dump_json(indent=2))
    else:
        typer.echo(f"{outcome.files} files, {outcome.findings} findings, head {outcome.head}")
        for problem in outcome.problems:
            typer.echo(ascii(problem)[1:-1])
    if not outcome.matches:
        raise VerificationError(f"{str(run)!r} has changed in {len(outcome.problems)} places since the audit finished")
    if not json_output:
        typer.echo("checked:")
        for check in outcome.checks:
            if check.done:
                typer.echo(f"  {check.name}: {check.done}")
        if not_done := [sentence for check in outcome.checks for sentence in check.not_done]:
            typer.echo("not checked:")
            for sentence in not_done:
                typer.echo(f"  {sentence}")
    raise typer.Exit(ExitCode.DECIDED)

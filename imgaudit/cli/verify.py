"""`imgaudit verify`: a check that a run folder is as it was when the audit finished."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgaudit.cli.exit_codes import ExitCode
from imgaudit.cli.options import JsonReport, Run
from imgaudit.cli.paths import require_file
from imgaudit.cli.replay_options import ReplayModel, ReplayOptions, describe_replay
from imgaudit.cli.signatures import Heading, option, takes_records
from imgaudit.cli.terminal import print_wrapped, progress
from imgaudit.exceptions import InputError, VerificationError

if TYPE_CHECKING:
    from imgaudit.schema.verification import Check


def register(app: typer.Typer, heading: str) -> None:
    """Add the command."""
    app.command(name="verify", rich_help_panel=heading)(takes_records(_verify))


def _verify(
    *,
    run: Run,
    head: Annotated[
        str,
        option(
            Heading.INPUT,
            "Head of the evidence that you noted elsewhere, or at least its first 12 digits.",
            metavar="DIGITS",
            default="none",
        ),
    ] = "",
    key: Annotated[
        list[Path] | None,
        option(Heading.INPUT, "Public key (a PEM file) that must have signed the run. May be repeated.",
               "--key", metavar="FILE", default="none: signatures are listed, not checked",
               callback=require_file),
    ] = None,
    tsa_root: Annotated[
        list[Path] | None,
        option(Heading.INPUT, "Root certificate of a timestamp authority, a PEM or DER file. May be repeated.",
               "--tsa-root", metavar="FILE", default="none: timestamps are listed, not checked",
               callback=require_file),
    ] = None,
    seal: Annotated[
        Path | None,
        option(Heading.INPUT, "Your copy of the run's seal, which must be the one in the run.", "--seal",
               metavar="FILE", default="none", callback=require_file),
    ] = None,
    model: ReplayModel,
    replay: ReplayOptions,
    json_output: JsonReport = False,
) -> None:  # fmt: skip
    """Check that a run has not changed: compare every file with its digest, and derive the verdicts again.

    With --replay and the model, some of its pictures are generated again as well, and compared with the recorded ones.
    RUN can also be a bag that holds a run, or a file that was signed or stamped, such as a seal.
    """
    from imgaudit.report.verification import verify, verify_file

    keys, roots = key or (), tsa_root or ()
    if run.suffix.lower() == ".zip" and run.is_file():
        raise InputError(f"{str(run)!r} is packed: unpack it first, and give the folder in it")
    if run.is_file():
        # A signed file, such as a seal: nothing of a run is there to be compared.
        if seal is not None:
            raise InputError("--seal is compared with the seal in a run, but RUN is a file")
        if replay.replay is not None:
            raise InputError("--replay generates the pictures of a run again, but RUN is a file")
        outcome, checks = None, verify_file(run, public_keys=keys, tsa_roots=roots)
    else:
        request = replay.request(model)
        with progress("generating again", quiet=request is None) as on_progress:
            outcome = verify(
                run, head, public_keys=keys, tsa_roots=roots, sealed=seal, replay=request, on_progress=on_progress
            )
        checks = outcome.checks
    problems = [problem for check in checks for problem in check.problems]
    if json_output:
        typer.echo(outcome.model_dump_json(indent=2) if outcome else json.dumps([one.model_dump() for one in checks]))
    else:
        if outcome:
            print_wrapped(f"{outcome.files} files, {outcome.findings} findings, head", outcome.head)
        for line in describe_replay(outcome.replay) if outcome and outcome.replay else ():
            typer.echo(line)
        for problem in problems:
            print_wrapped(ascii(problem)[1:-1])
    if problems:
        raise VerificationError(
            f"{str(run)!r} is not what it was, or not what was asked for, in {len(problems)} "
            f"{'place' if len(problems) == 1 else 'places'}"
        )
    if not json_output:
        _print_checks(checks)
    raise typer.Exit(ExitCode.DECIDED)


def _print_checks(checks: "list[Check]") -> None:
    typer.echo("checked:")
    for check in checks:
        if check.done:
            print_wrapped(f"  - {check.name}: {check.done}", indent="    ")
    if not_done := [sentence for check in checks for sentence in check.not_done]:
        typer.echo("not checked:")
        for sentence in not_done:
            print_wrapped(f"  - {sentence}", indent="    ")

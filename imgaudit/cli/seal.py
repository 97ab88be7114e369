"""`imgaudit seal`: what an audit will be, fixed in a statement before anything is measured."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from imgaudit.cli.exit_codes import ExitCode
from imgaudit.cli.inputs import Folders, find_left_controls, read_inputs
from imgaudit.cli.model_choice import ModelChoice
from imgaudit.cli.no_controls import CONSEQUENCE
from imgaudit.cli.options import ConfigOptions, Quiet
from imgaudit.cli.paths import require_new_file
from imgaudit.cli.signatures import Heading, Take, option, takes_records
from imgaudit.cli.terminal import plain, say, waiting
from imgaudit.exceptions import InputError
from imgaudit.io.offline import go_offline

SealedFolders = Annotated[Folders, Take(without=("seal", "shard"))]
SealedOptions = Annotated[ConfigOptions, Take(without=("batch_size", "fail_on"))]


def register(app: typer.Typer, heading: str) -> None:
    """Add the command."""
    app.command(name="seal", rich_help_panel=heading)(takes_records(_seal))


def _seal(
    *,
    model: ModelChoice,
    folders: SealedFolders,
    options: SealedOptions,
    output: Annotated[
        Path, option(Heading.OUTPUT, "File to write, which must not be there yet.", "--output", metavar="FILE",
               callback=require_new_file)
    ] = Path("seal.json"),
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Fix targets, controls, rules, model and seed of an audit in a file before anything is measured.

    Run the audit with imgaudit audit --seal FILE, which refuses to depart from it. None of the images is given to the
    model yet. Only a timestamp over the file shows others when it was made.
    """
    from imgaudit.api import seal
    from imgaudit.runs.inputs import Origin

    config, sources = options.resolve()
    if output.exists():
        raise InputError(f"{str(output)!r} exists already, and a seal is never overwritten; name another --output")
    if not (folders.has_controls or config.no_controls):
        raise InputError(
            f"a seal fixes the controls too, and none were given: {CONSEQUENCE}. Give --controls FOLDER, --calibration "
            "BANK or --no-controls"
        )
    if config.offline:
        go_offline()
    inputs = read_inputs(folders, config, config.policy, quiet=quiet)
    _, shared = find_left_controls(inputs)
    if shared:
        say(f"warning: {shared}", quiet=quiet)
    with waiting(f"loading model {model.name}", quiet=quiet):
        loaded = model.load(config.device)
    made = seal(
        loaded, inputs.portfolio, output=output, controls=inputs.controls, config=config,
        policy=inputs.policy, decoys=inputs.decoys, reference=inputs.reference,
        origin=Origin(sys.argv, sources, f"--controls {folders.controls}", folders.named),
    )  # fmt: skip
    audit = made.statement.audit
    typer.echo(plain(f"{output}: {len(audit.targets)} targets, seed {audit.seed}, model {audit.model.name}").plain)
    typer.echo(f"sha256 {made.sha256}")
    say(
        "note this digest where others can see when you did, or have it timestamped:",
        f"imgaudit timestamp request {shlex.quote(str(output))}",
        quiet=quiet,
    )
    raise typer.Exit(ExitCode.DECIDED)

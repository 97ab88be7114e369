"""`imgaudit sign`: a signature over a finished run, or over a file such as a seal."""

from pathlib import Path
from typing import Annotated

import typer

from imgaudit.cli.exit_codes import ExitCode
from imgaudit.cli.paths import require_file, require_present
from imgaudit.cli.signatures import Heading, argument, option


def register(app: typer.Typer, heading: str) -> None:
    """Add the command."""
    app.command(name="sign", rich_help_panel=heading)(_sign)


def _sign(
    path: Annotated[Path, argument("RUN|FILE", help="Run folder of a finished audit, or a file such as a seal.",
        callback=require_present)],
    key: Annotated[
        Path,
        option(Heading.INPUT, "Private key, a PEM file. Its passphrase is asked for, or read from "
               "IMGAUDIT_KEY_PASSPHRASE.", "--key", metavar="KEY", callback=require_file),
    ],
) -> None:  # fmt: skip
    """Sign a finished run, or a file: whoever has the public key can check that you vouched for it. Uses no network."""
    from imgaudit.cli.passphrase import ask_passphrase
    from imgaudit.cli.terminal import plain, say
    from imgaudit.runs.attestation.keys import others_can_read
    from imgaudit.runs.attestation.signatures import sign

    if others_can_read(key):
        say(f"note: other accounts of this machine can read {key}: chmod 600 keeps them out")
    written = sign(path, key, lambda: ask_passphrase(str(key)))
    typer.echo(plain(str(written)).plain)
    raise typer.Exit(ExitCode.DECIDED)

"""`imgaudit key`: keys that sign, made and described."""

from pathlib import Path
from typing import Annotated

import typer

from imgaudit.cli.paths import require_file, require_new_file
from imgaudit.cli.signatures import Heading, argument, flag

key = typer.Typer(help="Make keys for signing, and show their ids.", no_args_is_help=True)


def register(app: typer.Typer, heading: str) -> None:
    """Add the group."""
    app.add_typer(key, name="key", rich_help_panel=heading)


@key.command()
def make(
    file: Annotated[Path, argument("FILE", help="New file of the private key, such as signer.pem.",
        callback=require_new_file)],
    no_passphrase: Annotated[
        bool, flag(Heading.OUTPUT, "Leave the private key unprotected: whoever can read it can sign.",
                   "--no-passphrase")
    ] = False,
) -> None:  # fmt: skip
    """Make a key: FILE is private and makes signatures; NAME.pub.pem beside it is public and checks them."""
    from imgaudit.cli.passphrase import ask_passphrase
    from imgaudit.cli.terminal import plain, say
    from imgaudit.runs.attestation.keys import make_key

    made = make_key(file, "" if no_passphrase else ask_passphrase(str(file), new=True))
    say(f"private key in {file}: keep it to yourself, and keep a copy, because it cannot be made again")
    typer.echo(plain(f"{made.path}  {made.id}").plain)


@key.command()
def info(file: Annotated[Path, argument("FILE", help="Public key, a PEM file.", callback=require_file)]) -> None:
    """Show the id of a public key, to be compared with one that was told by telephone or printed in a letter."""
    from imgaudit.runs.attestation.keys import read_public_key

    read = read_public_key(file)
    typer.echo(f"{read.key.keytype}  {read.id}")

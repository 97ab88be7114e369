"""`imgaudit timestamp`: timestamps of a run or a file, requested and attached. What is sent, the user sends."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from imgaudit.cli.paths import require_file, require_present
from imgaudit.cli.signatures import argument

timestamp = typer.Typer(
    help="Request a timestamp, and attach the response of the authority. Nothing is sent from here.",
    no_args_is_help=True,
)

Stamped = Annotated[
    Path,
    argument("RUN|FILE", help="Run folder of a finished audit, one of its signatures, or a file such as a seal.",
             callback=require_present),
]  # fmt: skip


def register(app: typer.Typer, heading: str) -> None:
    """Add the group."""
    app.add_typer(timestamp, name="timestamp", rich_help_panel=heading)


@timestamp.command(name="request")
def request_(path: Stamped) -> None:
    """Write a request (RFC 3161) that you send to a timestamp authority, from any machine. It holds only a digest."""
    from imgaudit.cli.terminal import plain, say
    from imgaudit.runs.attestation.timestamps import request

    file = request(path)
    say("send it to the timestamp authority of your choice, from any machine, for example by")
    say(
        "",
        f"curl --header 'Content-Type: application/timestamp-query' --data-binary @{shlex.quote(str(file))} "
        "--output response.tsr URL-OF-THE-AUTHORITY",
    )
    say("and then:", f"imgaudit timestamp attach {shlex.quote(str(path))} response.tsr")
    typer.echo(plain(str(file)).plain)


@timestamp.command(name="attach")
def attach_(
    path: Stamped,
    response: Annotated[
        Path, argument("RESPONSE", help="The file that the authority returned.", callback=require_file)
    ],
) -> None:
    """Check that a response answers the request, and keep it. Its authority is checked by verify --tsa-root."""
    from imgaudit.cli.terminal import plain, say
    from imgaudit.runs.attestation.timestamps import attach

    file, stamp = attach(path, response)
    say(f"the response says {stamp}; imgaudit verify --tsa-root ROOT.pem checks that this authority said so")
    typer.echo(plain(str(file)).plain)

"""`imgaudit view`: a run's pages in the browser, where decisions are saved in the run."""

import signal
import threading
import webbrowser
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from imgaudit.cli.exit_codes import ExitCode
from imgaudit.cli.options import Run
from imgaudit.cli.signatures import Heading, flag, option
from imgaudit.cli.terminal import say
from imgaudit.exceptions import InputError

if TYPE_CHECKING:
    from imgaudit.report.review import ReviewDecision
    from imgaudit.report.server import ReviewServer


def _open_browser(server: "ReviewServer", stack: ExitStack) -> None:
    """Hand the address with its token to the browser in a file, since other accounts can read its command line."""
    from imgaudit.report.server import Handover

    try:
        handover = stack.enter_context(Handover(server.url))
    except OSError as error:
        raise InputError(
            f"the browser cannot be told the address: {error.filename!r} cannot be written ({error.strerror}); give "
            "--no-browser, and open the address that is printed"
        ) from error
    server.on_token = handover.remove
    say("the browser was given a page with a token, without which no decision is saved: anyone who has it can record "
        "decisions. Press Ctrl-C to stop")  # fmt: skip
    say("if the browser opens nothing, or may not read that page, stop and give --no-browser")
    # Some browsers return when they are closed; the pages must be there before.
    threading.Thread(target=webbrowser.open, args=(handover.path.as_uri(),), daemon=True).start()


def register(app: typer.Typer, heading: str) -> None:
    """Add the command."""
    app.command(name="view", rich_help_panel=heading)(_view)


def _view(
    run: Run,
    port: Annotated[
        int, option(Heading.MACHINE, "Port to serve on; 0 takes any free one.", metavar="N", min=0, max=65535)
    ] = 0,
    no_browser: Annotated[
        bool, flag(Heading.MACHINE, "Open no browser, and print the address with its token.", "--no-browser")
    ] = False,
) -> None:
    """Open the report of a run in the browser, on this machine only, and save review decisions in RUN/review."""
    from imgaudit.report.server import ReviewServer
    from imgaudit.runs.folder import RunFolder

    saved: list[ReviewDecision] = []

    def on_saved(decision: "ReviewDecision") -> None:
        saved.append(decision)
        say(f"saved: {decision.image_id} {decision.decision.value}, by {decision.reviewer}")

    try:
        server = ReviewServer(RunFolder(run), port, on_saved)
    except OSError as error:
        if error.filename is not None:
            raise
        raise InputError(f"port {port} cannot be used: {error.strerror or error}; choose another --port") from error
    # A service manager's stop is as orderly as Ctrl-C.
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with server, ExitStack() as stack:
            typer.echo(server.url if no_browser else server.address)
            say(f"report of {run}, on this machine only; decisions are saved in {server.ledger.path}")
            if no_browser:
                say("do not share the address: anyone who has it can record decisions. Press Ctrl-C to stop")
            else:
                _open_browser(server, stack)
            server.serve_forever(poll_interval=0.2)
    except KeyboardInterrupt:
        say(f"stopped; {len(saved)} decisions were saved in this session")
    finally:
        signal.signal(signal.SIGTERM, previous)
    raise typer.Exit(ExitCode.DECIDED)

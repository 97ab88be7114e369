"""The command line: arguments to configuration, a call, an exit code. The only part of imgaudit that prints.

Nothing here imports torch or diffusers until a command needs them, so that help is instant.
"""

import os
import sys
from typing import Protocol

import typer

from imgaudit.cli import (
    audit,
    bag,
    bank,
    benchmark,
    calibrate,
    compare,
    demo,
    detect,
    dial,
    doctor,
    index,
    key,
    lab,
    match,
    merge,
    mitigate,
    report,
    review,
    seal,
    sign,
    timestamp,
    triggers,
    verify,
    view,
)
from imgaudit.cli.configured import set_configured_defaults
from imgaudit.cli.exit_codes import ExitCode
from imgaudit.cli.interruption import format_command_line, say_interrupted
from imgaudit.cli.streams import prepare_streams
from imgaudit.exceptions import ImgauditError, ModelRefusedError, VerificationError
from imgaudit.schema.config import TRACEBACK_VARIABLE


class Command(Protocol):
    """A module of a command or of a group of commands."""

    def register(self, app: typer.Typer, heading: str) -> None:
        """Add it to the app, under a heading of the list of commands."""


app = typer.Typer(
    name="imgaudit",
    help="Audit whether a text-to-image diffusion model can reproduce your images, how easily, and how sure that is.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(shown: bool) -> None:
    if shown:
        from imgaudit import __version__

        typer.echo(f"imgaudit {__version__}")
        raise typer.Exit


@app.callback()
def _global(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Audit whether a text-to-image diffusion model can reproduce your images."""
    # Help must be there also for whoever looks up what is wrong in a file.
    if not {"-h", "--help"} & set(sys.argv):
        set_configured_defaults(context)


COMMANDS: dict[str, tuple[Command, ...]] = {
    "Audit": (seal, audit, demo, calibrate, merge, bank, index, match),
    "Results and review": (report, compare, view, review, verify),
    "Evidence": (key, sign, timestamp, bag),
    "Models and prompts": (detect, triggers, dial, mitigate, lab),
    "Measure the tool": (doctor, benchmark),
}
"""The commands under the headings of `imgaudit --help`, each in the module of its name."""

for _heading, _commands in COMMANDS.items():
    for _command in _commands:
        _command.register(app, _heading)


def main() -> None:
    """Run a command and turn what is raised into a message and an exit code. A user never sees a traceback."""
    from imgaudit.cli.terminal import print_error

    prepare_streams(sys.argv[1:])
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except typer.Exit as stop:
        code = stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = ExitCode.INTERRUPTED
    except ModelRefusedError as error:
        print_error(f"model refused: {error}")
        code = ExitCode.MODEL_REFUSED
    except VerificationError as error:
        print_error(f"verification failed: {error}")
        code = ExitCode.VERIFICATION_FAILED
    except ImgauditError as error:
        print_error(str(error))
        code = ExitCode.COULD_NOT_RUN
    except BrokenPipeError:
        code = ExitCode.COULD_NOT_RUN
    except OSError as error:
        where = f"{os.fspath(error.filename)!r}: " if error.filename is not None else ""
        print_error(
            f"{where}{error.strerror or error}; what was finished is kept; once that is put right, give the command "
            "again:",
            format_command_line(),
        )
        code = ExitCode.COULD_NOT_RUN
    except Exception as error:
        code = _unexpected(error)
    # typer turns Ctrl-C into this code without a word.
    if code == ExitCode.INTERRUPTED:
        say_interrupted()
    sys.exit(int(code or 0))


def _unexpected(error: Exception) -> int:
    """Usage errors of the command line, and errors of our own that nobody foresaw."""
    from imgaudit.cli.terminal import print_error

    # typer vendors click, whose usage errors are known only by what they can do.
    if hasattr(error, "exit_code") and hasattr(error, "show"):
        if isinstance(message := getattr(error, "message", None), str):
            error.message = message.removeprefix("Value error, ")  # type: ignore[attr-defined]  # pydantic's words
        error.show()
        return int(error.exit_code)
    if os.environ.get(TRACEBACK_VARIABLE):
        raise error
    print_error(
        f"an unexpected error in imgaudit: {type(error).__name__}: {error}; what was finished is kept. "
        f"{TRACEBACK_VARIABLE}=1 shows where it happened"
    )
    return ExitCode.COULD_NOT_RUN

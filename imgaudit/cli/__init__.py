"""The command line: arguments to configuration, a call, an exit code. The only part of imgaudit that prints.

Nothing here imports torch or diffusers until a command needs them, so that help is instant.
"""

import sys

import typer

from imgaudit.cli.exit_codes import ExitCode
from imgaudit.exceptions import ImgauditError, InputError, ModelRefusedError, VerificationError

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
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Audit whether a text-to-image diffusion model can reproduce your images."""


def _register() -> None:
    from imgaudit.cli import auditing, benchmarking, calibrating, dialling, examining, labs, reporting

    auditing.register(app)
    calibrating.register(app)
    reporting.register(app)
    dialling.register(app)
    labs.register(app)
    benchmarking.register(app)
    examining.register(app)


_register()


def main() -> None:
    """Run a command and turn what imgaudit raises into a message and an exit code."""
    from imgaudit.cli.terminal import complain

    try:
        code = app(standalone_mode=False)
    except typer.Exit as stop:
        code = stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        complain("interrupted; what was finished is kept, and the same command continues")
        code = ExitCode.INTERRUPTED
    except ModelRefusedError as error:
        complain(f"model refused: {error}")
        code = ExitCode.MODEL_REFUSED
    except VerificationError as error:
        complain(f"verification failed: {error}")
        code = ExitCode.VERIFICATION_FAILED
    except (InputError, ImgauditError) as error:
        complain(str(error))
        code = ExitCode.COULD_NOT_RUN
    except BrokenPipeError:
        code = ExitCode.COULD_NOT_RUN
    except Exception as error:
        # typer vendors click, whose usage errors are known only by what they can do.
        if not hasattr(error, "exit_code") or not hasattr(error, "show"):
            raise
        error.show()
        code = error.exit_code
    sys.exit(int(code or 0))

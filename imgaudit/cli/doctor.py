"""`imgaudit doctor`: what this machine can run."""

import json

import typer

from imgaudit.cli.exit_codes import ExitCode
from imgaudit.cli.options import JsonReport
from imgaudit.cli.terminal import print_wrapped


def register(app: typer.Typer, heading: str) -> None:
    """Add the command."""
    app.command(name="doctor", rich_help_panel=heading)(_doctor)


def _doctor(json_output: JsonReport = False) -> None:
    """Check this machine: device, libraries, weights, known answers, and what would be skipped and why."""
    from imgaudit.runs.environment import examine

    checks = examine()
    if json_output:
        typer.echo(json.dumps([check.model_dump() for check in checks], indent=2))
    else:
        for check in checks:
            print_wrapped(f"{check.state:8} {check.name:15} {check.detail}", indent=" " * 25)
    failed = any(check.state == "failed" for check in checks)
    raise typer.Exit(ExitCode.COULD_NOT_RUN if failed else ExitCode.DECIDED)

"""`imgaudit doctor`: what this machine can run, or what an audit would do with a model."""

import json
from typing import Annotated

import typer

from imgaudit.cli.exit_codes import ExitCode
from imgaudit.cli.model_choice import ModelChoice
from imgaudit.cli.options import JsonReport
from imgaudit.cli.signatures import Take, takes_records
from imgaudit.cli.terminal import print_wrapped

ExaminedModel = Annotated[ModelChoice, Take(only=("name", "loras", "variant", "config"), optional=("name",))]
"""A model whose files are looked at; none where the machine is."""


def register(app: typer.Typer, heading: str) -> None:
    """Add the command."""
    app.command(name="doctor", rich_help_panel=heading)(takes_records(_doctor))


def _doctor(model: ExaminedModel, json_output: JsonReport = False) -> None:
    """Check this machine: device, libraries, weights, known answers, and what would be skipped and why.

    With --model, check that model instead: what an audit would search for and measure, and why it would be refused.
    Its weights are neither loaded nor fetched.
    """
    if model.name:
        from imgaudit.runs.model_examination import examine_model

        checks = examine_model(model.name, model.loras or (), variant=model.variant or "", config=model.config or "")
    else:
        from imgaudit.runs.environment import examine

        checks = examine()
    if json_output:
        typer.echo(json.dumps([check.model_dump() for check in checks], indent=2))
    else:
        for check in checks:
            print_wrapped(f"{check.state:8} {check.name:15} {check.detail}", indent=" " * 25)
    failed = any(check.state == "failed" for check in checks)
    if not (failed or json_output or model.name):
        print_wrapped("An audit can run on this machine. What is skipped is optional: an audit goes on without it.")
    raise typer.Exit(ExitCode.COULD_NOT_RUN if failed else ExitCode.DECIDED)

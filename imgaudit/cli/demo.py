"""`imgaudit demo`: an audit of bundled images on a bundled model."""

from pathlib import Path

import typer

from imgaudit.cli.audit import PrintOptions, audit_and_print
from imgaudit.cli.inputs import Folders
from imgaudit.cli.model_choice import ModelChoice
from imgaudit.cli.options import DemoOptions, Out
from imgaudit.cli.signatures import takes_records
from imgaudit.schema.config import AuditConfig, FailOn
from imgaudit.schema.protocol import Effort, Framing

MODEL = "demo-128"
"""Bundled lab that is audited."""


def register(app: typer.Typer, heading: str) -> None:
    """Add the command."""
    app.command(name="demo", rich_help_panel=heading)(takes_records(_demo))


def _demo(*, out: Out = Path("imgaudit-demo"), options: DemoOptions, output: PrintOptions) -> None:
    """Audit the bundled images against the bundled model, which memorised some of them. Needs no download.

    The exit code is 0 whatever is found, as with --fail-on never: the demo shows a report and tests nothing of yours.
    """
    from imgaudit.models.loading import bundled_lab

    lab = bundled_lab(MODEL)
    # The bank that comes with the demo holds for this protocol only, so configuration files have no say here.
    config = AuditConfig(effort=Effort.QUICK, framing=Framing.PAD, fail_on=FailOn.NEVER, **options.config_values())
    sources = {key: "demo" if key in config.model_fields_set else "default" for key in AuditConfig.model_fields}
    raise typer.Exit(
        audit_and_print(
            Folders(lab / "portfolio", calibration=lab / "calibration.json"), ModelChoice(MODEL), out, config, sources,
            output,
        )
    )  # fmt: skip

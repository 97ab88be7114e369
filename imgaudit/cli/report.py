"""`imgaudit report`: the report of a finished run, made again without the model."""

import os
from pathlib import Path
from typing import Annotated

import typer

from imgaudit.cli.exit_codes import find_exit_code
from imgaudit.cli.options import Run
from imgaudit.cli.signatures import Heading, option
from imgaudit.exceptions import InputError
from imgaudit.schema.config import FailOn
from imgaudit.schema.policy import Policy, read_policy


def register(app: typer.Typer, heading: str) -> None:
    """Add the command."""
    app.command(name="report", rich_help_panel=heading)(_report)


def _report(
    run: Run,
    kind: Annotated[str, option(Heading.OUTPUT, "html, written into RUN/report, or json, csv or markdown, printed.",
        "--format", "-f", metavar="NAME")] = "html",
    policy: Annotated[Path | None, option(Heading.CONTROLS, "Policy to decide again by, a TOML "
        "or JSON file: how measurements become verdicts.", metavar="FILE", default="the run's own policy")] = None,
    fail_on: Annotated[FailOn, option(Heading.OUTPUT, "For scripts: exit with code 1 if any verdict is replicated or "
        "partial (replicated), or one of these or atypical (atypical); or never.", metavar="WHAT")] = FailOn.NEVER,
) -> None:  # fmt: skip
    """Make the report of a run again from its measurements, also in another format. Needs no model."""
    from imgaudit.io.writing import read_json
    from imgaudit.report import ReportFormat, finish_run, render
    from imgaudit.runs.conclusion import conclude
    from imgaudit.runs.evidence import is_listed
    from imgaudit.runs.folder import RunFolder

    if kind not in set(ReportFormat):
        raise InputError(f"--format must be one of {', '.join(ReportFormat)}, but got {kind!r}")
    folder = RunFolder(run)
    if not folder.manifest_path.is_file():
        raise InputError(f"{str(run)!r} is not a run folder: it has no manifest.json")
    with folder.lock():
        fixed = Policy.model_validate(read_json(folder.manifest_path)["policy"])
        result = conclude(folder, read_policy(policy, fixed) if policy is not None else None)
        # Text is printed without making pages again, unless they and the evidence are of another result.
        if kind == ReportFormat.HTML or not is_listed(folder, folder.report_path.name):
            finish_run(folder, result, os.cpu_count() or 1)
        if kind == ReportFormat.HTML:
            typer.echo(folder.path / "report" / "index.html")
        else:
            typer.echo(render(result, ReportFormat(kind)), nl=False)
    raise typer.Exit(find_exit_code(result, fail_on))

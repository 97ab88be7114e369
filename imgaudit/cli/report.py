"""`imgaudit report`: the report of a finished run, made again without the model."""

import os
import sys
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
    from imgaudit.runs.conclusion import decide_run, is_current, read_decided_policy, write_result
    from imgaudit.runs.folder import RunFolder
    from imgaudit.runs.history import Invocation

    if kind not in set(ReportFormat):
        raise InputError(f"--format must be one of {', '.join(ReportFormat)}, but got {kind!r}")
    folder = RunFolder(run)
    if not folder.manifest_path.is_file():
        raise InputError(f"{str(run)!r} is not a run folder: it has no manifest.json")
    with folder.lock(), Invocation(folder, "report", sys.argv) as invocation:
        fixed = Policy.model_validate(read_json(folder.manifest_path)["policy"])
        given = read_policy(policy, fixed) if policy is not None else None
        decides = (given or fixed) != read_decided_policy(folder, fixed)
        if kind == ReportFormat.HTML or decides:
            invocation.start(decides=decides)
        result = decide_run(folder, given)
        # Text is printed without writing anything, unless the run holds another result, or evidence of another one.
        if not (invocation.started or is_current(folder, result)):
            invocation.start()
        if invocation.started:
            if decides:
                invocation.changes["policy"] = [*result.redecided]
            write_result(folder, result)
            finish_run(folder, result, invocation, os.cpu_count() or 1)
        if kind == ReportFormat.HTML:
            typer.echo(folder.path / "report" / "index.html")
        else:
            typer.echo(render(result, ReportFormat(kind)), nl=False)
    raise typer.Exit(find_exit_code(result, fail_on))

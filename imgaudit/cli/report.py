"""`imgaudit report`: the report of a finished run, made again without the model."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgaudit.cli.exit_codes import find_exit_code, find_failing
from imgaudit.cli.options import Run
from imgaudit.cli.paths import require_file, require_new_file
from imgaudit.cli.signatures import Heading, option
from imgaudit.cli.terminal import plain, say
from imgaudit.exceptions import InputError
from imgaudit.schema.config import FailOn
from imgaudit.schema.policy import Policy, read_policy

if TYPE_CHECKING:
    from imgaudit.report import ReportFormat
    from imgaudit.runs.folder import RunFolder
    from imgaudit.schema.findings import AuditResult


def register(app: typer.Typer, heading: str) -> None:
    """Add the command."""
    app.command(name="report", rich_help_panel=heading)(_report)


def _report(
    run: Run,
    kind: Annotated[str, option(Heading.OUTPUT, "html, written into RUN/report; json, csv, markdown, sarif or "
        "junit (for CI), printed; or counsel, one HTML file for lawyers that prints to a PDF.",
        "--format", "-f", metavar="NAME")] = "html",
    policy: Annotated[Path | None, option(Heading.CONTROLS, "Policy to decide again by: a TOML "
        "or JSON file that says how measurements become verdicts.", metavar="FILE", default="the run's own policy",
        callback=require_file)] = None,
    image: Annotated[list[str] | None, option(Heading.OUTPUT, "Image to show in the file for counsel, by id, SHA-256 "
        "or file name. May be repeated.", "--image", metavar="IMAGE", default="all that are reproduced")] = None,
    output: Annotated[Path | None, option(Heading.OUTPUT, "File for counsel, which must not be there yet.", "--output",
        "-o", metavar="FILE", default="counsel-RUN.html", callback=require_new_file)] = None,
    fail_on: Annotated[FailOn | None, option(Heading.OUTPUT, "For scripts: exit with code 1 for these verdicts. "
        "replicated: any copy, in whole or in part; atypical: these and atypical; inconclusive: these and "
        "inconclusive; skipped: these and files that were not measured; or never: exit with code 0 whatever was found.",
        metavar="WHAT", default="none: code 3 where something is undecided, otherwise 0")] = None,
) -> None:  # fmt: skip
    """Make the report of a run again from its measurements, also in another format. Needs no model."""
    from imgaudit.io.writing import read_json
    from imgaudit.report import ReportFormat, finish_run
    from imgaudit.runs.conclusion import decide_run, is_current, read_decided_policy, write_result
    from imgaudit.runs.folder import RunFolder
    from imgaudit.runs.history import Invocation
    from imgaudit.runs.manifest import require_whole

    if kind not in set(ReportFormat):
        raise InputError(f"--format must be one of {', '.join(ReportFormat)}, but got {kind!r}")
    if kind != ReportFormat.COUNSEL and (image or output is not None):
        raise InputError("--image and --output belong to --format counsel")
    folder = RunFolder(run)
    if not folder.manifest_path.is_file():
        raise InputError(f"{str(run)!r} is not a run folder: it has no manifest.json")
    require_whole(folder)
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
        elif kind == ReportFormat.COUNSEL:
            typer.echo(plain(str(_write_counsel(folder, image or [], output))).plain)
        else:
            typer.echo(_render(result, ReportFormat(kind), fail_on), nl=False)
    if missing := result.summary.targets - len(result.findings):
        say(
            f"{missing} of {result.summary.targets} files were not measured, because the audit was stopped: give its "
            "command again to finish it"
        )
    raise typer.Exit(find_exit_code(result, fail_on))


def _render(result: "AuditResult", kind: "ReportFormat", fail_on: FailOn | None) -> str:
    """Return a text format; in those for CI, the verdicts that fail are those of the exit code."""
    from imgaudit.report import render

    named = FailOn.REPLICATED if fail_on in (None, FailOn.NEVER) else fail_on
    return render(result, kind, find_failing(named))


def _write_counsel(run: "RunFolder", images: Sequence[str], output: Path | None) -> Path:
    """Write the file for counsel; return its path. Raises InputError when there is one, or it lies in the run."""
    from imgaudit.io.new_file import require_new_output
    from imgaudit.io.writing import write_atomically
    from imgaudit.report.counsel.document import render_counsel
    from imgaudit.runs.finished import read_finished_run, run_id

    finished = read_finished_run(run.path)
    path = output or Path(f"counsel-{run_id(run)}.html")
    require_new_output(path, run.path)
    write_atomically(path, render_counsel(finished, images))
    return path

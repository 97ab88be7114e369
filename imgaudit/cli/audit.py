"""`imgaudit audit`: images against a model."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import typer

from imgaudit.cli.dry_run import estimate_duration, print_cost, print_plan
from imgaudit.cli.exit_codes import ExitCode, find_exit_code
from imgaudit.cli.folders import keep_begun_framing
from imgaudit.cli.inputs import Folders, ReadInputs, read_inputs
from imgaudit.cli.interruption import Interruption
from imgaudit.cli.model_choice import ModelChoice
from imgaudit.cli.no_controls import CONSEQUENCE, choose_without_controls, lacks_choice
from imgaudit.cli.options import ConfigOptions, DryRun, Json, Out, Quiet
from imgaudit.cli.sealed import find_seal, keep_to_seal
from imgaudit.cli.signatures import takes_records
from imgaudit.cli.terminal import print_result, say, stage_progress
from imgaudit.io.offline import go_offline
from imgaudit.schema.config import AuditConfig


@dataclass(frozen=True)
class PrintOptions:
    """The choice of what a command prints."""

    json_lines: Json = False
    """Results as lines of JSON."""
    dry_run: DryRun = False
    """The plan and its cost only."""
    quiet: Quiet = False
    """Results only."""


def audit_and_print(
    folders: Folders, model: ModelChoice, out: Path, config: AuditConfig, sources: dict[str, str], output: PrintOptions
) -> ExitCode:
    """Read what was given, audit it, and print the result."""
    from imgaudit.api import audit
    from imgaudit.runs.evidence import read_evidence
    from imgaudit.runs.folder import RunFolder
    from imgaudit.runs.inputs import Origin

    seal, quiet = find_seal(folders, out), output.quiet
    policy = config.policy
    if seal is not None:
        folders, config, sources = keep_to_seal(seal.statement, folders, config, sources, out)
        policy = seal.statement.audit.policy
    undecided = lacks_choice(config, sources["no_controls"], out, given=folders.has_controls)
    if config.offline:
        go_offline()
    inputs = read_inputs(folders, config, policy, quiet=quiet)
    portfolio = inputs.portfolio
    if output.dry_run:
        _print_dry_run(inputs, model, config, undecided=undecided, quiet=quiet)
        return ExitCode.DECIDED
    if undecided:
        reason = choose_without_controls(
            len(portfolio.targets), lambda: estimate_duration(model, config, portfolio, quiet=quiet)
        )
        config = config.model_copy(update={"no_controls": True})
        sources = sources | {"no_controls": reason}
    say(f"loading model {model.name}", quiet=quiet)
    loaded = model.load(config.device)
    with Interruption().listening() as interruption, stage_progress(quiet=quiet) as advance:
        result = audit(
            loaded, portfolio, out=out, controls=inputs.controls, config=config, policy=inputs.policy,
            decoys=inputs.decoys, reference=inputs.reference, seal=seal,
            origin=Origin(sys.argv, sources, f"--controls {folders.controls}", folders.named),
            on_progress=interruption.stopping_stages(advance), on_note=lambda sentence: say(sentence, quiet=quiet),
        )  # fmt: skip
    if output.json_lines:
        for finding in result.findings:
            typer.echo(json.dumps(finding.model_dump(mode="json")))
        typer.echo(json.dumps(result.summary.model_dump(mode="json")))
    else:
        print_result(result)
    say(f"report: {out / 'report' / 'index.html'}", quiet=quiet)
    say(f"head of the evidence, to be noted elsewhere: {read_evidence(RunFolder(out)).head}", quiet=quiet)
    return find_exit_code(result, config.fail_on)


def _print_dry_run(
    inputs: ReadInputs, model: ModelChoice, config: AuditConfig, *, undecided: bool, quiet: bool
) -> None:
    """Print what would be done, and what it costs."""
    from imgaudit.decision.null_bank import NullBank, count_bank_controls
    from imgaudit.runs.works import describe_same_works, keep_works

    bank = inputs.controls if isinstance(inputs.controls, NullBank) else None
    works = None if isinstance(inputs.controls, NullBank | None) else keep_works(inputs.controls, config.series)
    for sentence in describe_same_works(works, "control") if works else ():
        typer.echo(ascii(sentence)[1:-1])
    number = len(works.targets) if works else 0
    known = len(bank.by_work().controls) if bank else count_bank_controls(number)
    work = print_plan(config, inputs.policy, inputs.portfolio, controls=known, to_calibrate=number)
    if undecided:
        typer.echo(f"no controls were given: {CONSEQUENCE}")
    print_cost(model, config, work, quiet=quiet)


def register(app: typer.Typer, heading: str) -> None:
    """Add the command."""
    app.command(name="audit", rich_help_panel=heading)(takes_records(_audit))


def _audit(
    *,
    model: ModelChoice,
    folders: Folders,
    out: Out = Path("imgaudit-run"),
    options: ConfigOptions,
    output: PrintOptions,
) -> None:
    """Audit a folder of images against a model and write a run folder with a report per image."""
    config, sources = options.resolve()
    config = keep_begun_framing(config, sources, out)
    raise typer.Exit(audit_and_print(folders, model, out, config, sources, output))

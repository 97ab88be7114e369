"""`imgaudit audit`: images against a model."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from imgaudit.cli.dry_run import estimate_duration, print_cost, print_plan
from imgaudit.cli.exit_codes import ExitCode, find_exit_code
from imgaudit.cli.folders import read_folder
from imgaudit.cli.interruption import Interruption
from imgaudit.cli.model_choice import ModelChoice
from imgaudit.cli.no_controls import CONSEQUENCE, choose_without_controls, lacks_choice
from imgaudit.cli.options import (
    Calibration,
    Captions,
    ConfigOptions,
    Controls,
    Decoys,
    DryRun,
    Json,
    Out,
    PolicyOption,
    Prompts,
    Quiet,
    ReferenceOption,
    Targets,
)
from imgaudit.cli.signatures import takes_records
from imgaudit.cli.terminal import print_result, say, stage_progress
from imgaudit.exceptions import InputError
from imgaudit.io.offline import go_offline
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.policy import read_policy

if TYPE_CHECKING:
    from imgaudit.index import Collection


@dataclass(frozen=True)
class PrintOptions:
    """The choice of what a command prints."""

    json_lines: Json = False
    """Results as lines of JSON."""
    dry_run: DryRun = False
    """The plan and its cost only."""
    quiet: Quiet = False
    """Results only."""


@dataclass(frozen=True)
class Folders:
    """The folders and files that an audit is given."""

    targets: Targets
    """The owner's images."""
    captions: Captions = None
    """Table of captions."""
    prompts: Prompts = None
    """Table of prompts."""
    controls: Controls = None
    """Images that cannot be in the training set."""
    calibration: Calibration = None
    """Null bank."""
    decoys: Decoys = None
    """Other images."""
    reference: ReferenceOption = None
    """Collection."""
    policy: PolicyOption = None
    """Rules by which measurements become verdicts."""


def audit_and_print(
    folders: Folders, model: ModelChoice, out: Path, config: AuditConfig, sources: dict[str, str], output: PrintOptions
) -> ExitCode:
    """Read what was given, audit it, and print the result."""
    from imgaudit.api import audit
    from imgaudit.decision.null_bank import NullBank, count_bank_controls
    from imgaudit.runs.audit import Origin
    from imgaudit.runs.works import describe_same_works, keep_works

    if folders.controls is not None and folders.calibration is not None:
        raise InputError("give --controls or --calibration, not both")
    given = folders.controls is not None or folders.calibration is not None
    undecided = lacks_choice(config, sources["no_controls"], out, given=given)
    if config.offline:
        go_offline()
    quiet = output.quiet
    policy = read_policy(folders.policy, config.policy) if folders.policy is not None else config.policy
    portfolio = read_folder(
        folders.targets, config, captions=folders.captions, prompts=folders.prompts, thumbnails=True, quiet=quiet
    )
    bank = NullBank.read(folders.calibration) if folders.calibration is not None else None
    controls = (
        read_folder(folders.controls, config, thumbnails=True, quiet=quiet) if folders.controls is not None else None
    )
    decoys = (
        read_folder(folders.decoys, config, sidecars=False, thumbnails=True, quiet=quiet)
        if folders.decoys is not None
        else None
    )
    reference = _open_reference(folders.reference) if folders.reference is not None else None
    source = controls if bank is None else bank
    if output.dry_run:
        works = keep_works(controls, config.series) if controls else None
        for sentence in describe_same_works(works, "control") if works else ():
            typer.echo(ascii(sentence)[1:-1])
        number = len(works.targets) if works else 0
        known = len(bank.by_work().controls) if bank else count_bank_controls(number)
        work = print_plan(config, policy, portfolio, controls=known, to_calibrate=number)
        if undecided:
            typer.echo(f"no controls were given: {CONSEQUENCE}")
        print_cost(model, config, work, quiet=quiet)
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
            loaded, portfolio, out=out, controls=source, config=config, policy=policy, decoys=decoys,
            reference=reference, origin=Origin(sys.argv, sources, f"--controls {folders.controls}"),
            on_progress=interruption.stopping_stages(advance), on_note=lambda sentence: say(sentence, quiet=quiet),
        )  # fmt: skip
    if output.json_lines:
        for finding in result.findings:
            typer.echo(json.dumps(finding.model_dump(mode="json")))
        typer.echo(json.dumps(result.summary.model_dump(mode="json")))
    else:
        print_result(result)
    say(f"report: {out / 'report' / 'index.html'}", quiet=quiet)
    return find_exit_code(result, config.fail_on)


def _open_reference(folder: Path) -> "Collection":
    from imgaudit.index import Collection
    from imgaudit.runs.reference import find_near_copy_rule

    collection = Collection.open(folder)
    find_near_copy_rule(collection.manifest.descriptor.name)
    return collection


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
    raise typer.Exit(audit_and_print(folders, model, out, config, sources, output))

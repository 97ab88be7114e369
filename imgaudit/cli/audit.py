"""`imgaudit audit`: images against a model."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from imgaudit.cli.cost import estimate_duration, print_cost
from imgaudit.cli.dry_run import Plan, print_plan
from imgaudit.cli.engine import PLAIN, EngineOptions, count_evaluations
from imgaudit.cli.event_log import open_log, require_apart
from imgaudit.cli.exit_codes import ExitCode, find_exit_code
from imgaudit.cli.folders import keep_begun_framing
from imgaudit.cli.inputs import Folders, ReadInputs, find_left_controls, name_skipped, read_inputs
from imgaudit.cli.interruption import Interruption, format_command_line
from imgaudit.cli.model_choice import ModelChoice
from imgaudit.cli.no_controls import choose_without_controls, lacks_choice
from imgaudit.cli.options import ConfigOptions, DryRun, LogFile, Out, Quiet, StreamedJson
from imgaudit.cli.pace import Activity, repeating
from imgaudit.cli.sealed import find_seal, keep_to_seal
from imgaudit.cli.shard import print_shard
from imgaudit.cli.signatures import takes_records
from imgaudit.cli.terminal import print_result, say, stage_progress, waiting
from imgaudit.io.offline import go_offline
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.shard import Shard, ShardSummary

if TYPE_CHECKING:
    from imgaudit.io.portfolio import Portfolio
    from imgaudit.runs.inputs import AuditInputs, Origin
    from imgaudit.schema.findings import AuditResult


@dataclass(frozen=True)
class PrintOptions:
    """The choice of what a command prints."""

    json_lines: StreamedJson = False
    """Results as lines of JSON."""
    dry_run: DryRun = False
    """The plan and its cost only."""
    quiet: Quiet = False
    """Results only."""
    log_file: LogFile = None
    """Where events are appended."""


def audit_and_print(
    folders: Folders,
    model: ModelChoice,
    out: Path,
    config: AuditConfig,
    sources: dict[str, str],
    output: PrintOptions,
    engine: EngineOptions = PLAIN,
) -> ExitCode:
    """Read what was given, audit it, and print the result."""
    from imgaudit.runs.evidence import read_evidence
    from imgaudit.runs.folder import RunFolder
    from imgaudit.runs.inputs import AuditInputs, Origin
    from imgaudit.runs.repetition import find_finished_audit, find_finished_shard

    engine.require_valid(config)
    seal, quiet = find_seal(folders, out), output.quiet
    policy = config.policy
    if seal is not None:
        folders, config, sources = keep_to_seal(seal.statement, folders, config, sources, out)
        policy = seal.statement.audit.policy
    undecided = lacks_choice(config, sources["no_controls"], out, given=folders.has_controls)
    if output.log_file is not None:
        require_apart(output.log_file, [out, *map(Path, folders.named.values()), *model.paths])
    if config.offline:
        go_offline()
    shard = folders.part
    inputs = read_inputs(folders, config, policy, quiet=quiet)
    portfolio = inputs.portfolio
    left, shared = find_left_controls(inputs, out)
    if shared:
        say(f"warning: {shared}", quiet=quiet and not output.dry_run)
    if output.dry_run:
        plan = _make_plan(inputs, left, config, shard, undecided=undecided)
        print_plan(plan)
        print_cost(model, plan, quiet=quiet)
        return ExitCode.DECIDED
    name_skipped(inputs, quiet=quiet)
    given = AuditInputs(portfolio, inputs.controls, inputs.decoys, inputs.reference, inputs.policy, seal, shard)
    if shard is not None and (finished := find_finished_shard(out, model.named, given, config)):
        say("nothing to do: every image of this shard is measured already", quiet=quiet)
        print_shard(finished, out, json_lines=output.json_lines)
        return ExitCode.DECIDED
    if shard is None and (done := find_finished_audit(out, model.named, given, config)):
        say("nothing to do: every image of this run is measured and decided already", quiet=quiet)
        print_outcome(done, out, json_lines=output.json_lines, quiet=quiet)
        return find_exit_code(done, config.fail_on)
    if undecided:
        reason = choose_without_controls(
            len(portfolio.targets),
            lambda: estimate_duration(model, _make_plan(inputs, left, config, shard), quiet=quiet),
        )
        config = config.model_copy(update={"no_controls": True})
        sources = sources | {"no_controls": reason}
    origin = Origin(sys.argv, sources, f"--controls {folders.controls}", folders.named)
    result = _measure(given, model, out, config, origin, output, engine)
    if isinstance(result, ShardSummary):
        print_shard(result, out, json_lines=output.json_lines)
        return ExitCode.DECIDED
    print_outcome(result, out, json_lines=output.json_lines, quiet=quiet)
    say("head of the evidence, to be noted elsewhere:", read_evidence(RunFolder(out)).head, quiet=quiet)
    return find_exit_code(result, config.fail_on)


def _measure(
    given: "AuditInputs",
    model: ModelChoice,
    out: Path,
    config: AuditConfig,
    origin: "Origin",
    output: PrintOptions,
    engine: EngineOptions,
) -> "AuditResult | ShardSummary":
    """Load the model and audit, or measure a part, with progress on the terminal and in the log."""
    from imgaudit.api import audit, measure_shard

    activity, quiet = Activity(), output.quiet
    interruption = Interruption(activity=activity)
    # Opened first, so that a place that is refused does not cost the time to load a model.
    with open_log(output.log_file, [out, *map(Path, origin.inputs.values()), *model.paths]) as log:
        log.write("begin", command=format_command_line())
        with waiting(f"loading model {model.name}", quiet=quiet):
            loaded = model.load(engine.find_first_device(config.device))

        def on_note(sentence: str) -> None:
            log.write("note", message=sentence)
            say(sentence, quiet=quiet)

        def on_step(step: str, paths: Sequence[str]) -> None:
            activity.begin(step, paths)
            log.note_step(activity)

        with (
            interruption.listening(),
            repeating(lambda: log.note_step(activity)),
            stage_progress(quiet=quiet, activity=activity) as advance,
            engine.opened(model, config) as processes,
        ):
            activity.count_evaluations = count_evaluations(loaded, processes)

            def on_progress(stage: str, done: int, total: int) -> None:
                log.note_stage(stage, done, total)
                advance(stage, done, total)

            settings: dict[str, Any] = {
                "out": out, "controls": given.controls, "config": config, "policy": given.policy,
                "decoys": given.decoys, "reference": given.reference, "seal": given.seal, "origin": origin,
                "on_progress": interruption.stopping_stages(on_progress), "on_note": on_note,
                "on_measured": log.note_image, "on_step": on_step, "engine": processes,
            }  # fmt: skip
            result = (
                audit(loaded, given.portfolio, **settings)
                if given.shard is None
                else measure_shard(loaded, given.portfolio, given.shard, **settings)
            )
        findings = [] if isinstance(result, ShardSummary) else result.findings
        for one in findings:
            log.write("finding", image=one.path, verdict=one.verdict.value, seconds=round(one.seconds, 3))
        code = ExitCode.DECIDED if isinstance(result, ShardSummary) else find_exit_code(result, config.fail_on)
        log.write("end", exit_code=int(code), seconds=log.seconds)
    return result


def print_outcome(result: "AuditResult", out: Path, *, json_lines: bool, quiet: bool) -> None:
    """Print the findings and where the report is."""
    if json_lines:
        for finding in result.findings:
            typer.echo(json.dumps(finding.model_dump(mode="json")))
        typer.echo(json.dumps(result.summary.model_dump(mode="json")))
    else:
        print_result(result)
    say("report:", str(out / "report" / "index.html"), quiet=quiet)


def _make_plan(
    inputs: ReadInputs, left: "Portfolio | None", config: AuditConfig, shard: Shard | None, *, undecided: bool = False
) -> Plan:
    """Plan an audit from what was read.

    left:   the controls to be measured that are no targets; None without any
    shard:  the part of the images; None for all
    """
    from imgaudit.decision.null_bank import NullBank, count_bank_controls
    from imgaudit.runs.works import keep_works

    bank = inputs.controls if isinstance(inputs.controls, NullBank) else None
    works = None if isinstance(inputs.controls, NullBank | None) else keep_works(inputs.controls, config.series)
    counted = len(keep_works(left, config.series).targets) if left else 0
    known = len(bank.by_work().controls) if bank else count_bank_controls(counted)
    return Plan(config, inputs.policy, inputs.portfolio, works, known, bank, undecided, shard)


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
    engine: EngineOptions,
) -> None:
    """Audit a folder of images against a model and write a run folder with a report per image."""
    config, sources = options.resolve()
    config = keep_begun_framing(config, sources, out)
    raise typer.Exit(audit_and_print(folders, model, out, config, sources, output, engine))

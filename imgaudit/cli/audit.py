"""`imgaudit audit`: images against a model."""

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from imgaudit.cli.batch_size import settled
from imgaudit.cli.dry_run import print_cost, print_plan
from imgaudit.cli.exit_codes import ExitCode, exit_code
from imgaudit.cli.folders import read_folder
from imgaudit.cli.interruption import Interruption
from imgaudit.cli.model_choice import ModelChoice
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
from imgaudit.cli.terminal import print_result, progress, say
from imgaudit.exceptions import InputError
from imgaudit.io.offline import go_offline
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.policy import Policy, read_policy

if TYPE_CHECKING:
    from imgaudit.decision.null_bank import NullBank
    from imgaudit.index import Collection
    from imgaudit.io.portfolio import Portfolio
    from imgaudit.models import LoadedModel
    from imgaudit.schema.findings import AuditResult


def run_audit(
    *,
    targets: Path,
    model: ModelChoice,
    out: Path,
    config: AuditConfig,
    sources: dict[str, str],
    captions: Path | None = None,
    prompts: Path | None = None,
    controls: Path | None = None,
    calibration: Path | None = None,
    decoys: Path | None = None,
    reference: Path | None = None,
    policy_file: Path | None = None,
    quiet: bool = False,
    json_lines: bool = False,
    dry_run: bool = False,
) -> ExitCode:
    """The whole audit: read, calibrate if asked, measure, decide, render."""
    from imgaudit.decision.null_bank import NullBank, count_bank_controls
    from imgaudit.io.captions import CaptionSource

    if controls is not None and calibration is not None:
        raise InputError("give --controls or --calibration, not both")
    if config.offline:
        go_offline()
    policy = read_policy(policy_file, config.policy) if policy_file is not None else config.policy
    asked = CaptionSource(targets, prompts, sidecars=False) if prompts is not None else None
    portfolio = read_folder(
        targets, CaptionSource(targets, captions), config, prompts=asked, thumbnails=True, quiet=quiet
    )
    bank = NullBank.read(calibration) if calibration is not None else None
    control_images = read_folder(controls, CaptionSource(controls), config, quiet=quiet) if controls else None
    if control_images is not None and control_images.skipped:
        first = control_images.skipped[0]
        count = len(control_images.skipped)
        say(f"note: {count} files are no controls (first: {first.path}: {first.skipped})", quiet=quiet)
    decoy_images = control_images
    if decoys is not None:
        decoy_images = read_folder(decoys, CaptionSource(decoys, sidecars=False), config, quiet=quiet)
    given = len(control_images.targets) if control_images else 0
    collection = None
    if reference is not None:
        from imgaudit.index import Collection
        from imgaudit.runs.reference import bound_of

        collection = Collection.open(reference)
        bound_of(collection.manifest.descriptor.name)
    if dry_run:
        known = len(bank.controls) if bank else count_bank_controls(given)
        work = print_plan(config, policy, portfolio, controls=known, to_calibrate=given)
        print_cost(model, config, work, quiet=quiet)
        return ExitCode.DECIDED

    from imgaudit.diffusion.generation import require_steps
    from imgaudit.diffusion.inversion import require_streams

    say(f"loading model {model.name}", quiet=quiet)
    loaded = model.load(config.device)
    require_streams(loaded.denoiser, config.streams)
    require_steps(loaded.denoiser, config.protocol.generation.num_inference_steps)
    if bank is not None:
        bank.require(loaded.denoiser.fingerprint, config.protocol)
        if config.protocol.invmm is not None and bank.protocol.invmm != config.protocol.invmm:
            say(
                "note: the null bank was not measured by InvMM with these settings, so its divergences get no p-value; "
                "imgaudit calibrate takes --measure invmm",
                quiet=quiet,
            )
    config, sources = settled(config, sources, loaded, RunFolder(out), quiet=quiet)
    prepared = Prepared(
        portfolio, control_images, decoy_images, bank, f"--controls {controls}", policy, sources, collection
    )
    result = carry_out(RunFolder(out), prepared, loaded, config, quiet=quiet)
    if json_lines:
        for finding in result.findings:
            typer.echo(json.dumps(finding.model_dump(mode="json")))
        typer.echo(json.dumps(result.summary.model_dump(mode="json")))
    else:
        print_result(result)
    say(f"report: {out / 'report' / 'index.html'}", quiet=quiet)
    return exit_code(result, config.fail_on)


@dataclass(frozen=True)
class Prepared:
    """What was read before a model was loaded."""

    portfolio: "Portfolio"
    controls: "Portfolio | None"
    decoys: "Portfolio | None"
    bank: "NullBank | None"
    note: str
    policy: Policy
    sources: Mapping[str, str]
    collection: "Collection | None" = None


def carry_out(
    run: RunFolder, prepared: Prepared, loaded: "LoadedModel", config: AuditConfig, *, quiet: bool
) -> "AuditResult":
    """The part of an audit that writes, under the run's lock: what is there already is not done again."""
    from imgaudit.report import write_report
    from imgaudit.runs.audit import group_targets, keep_bank, require_controls, save_decoys
    from imgaudit.runs.calibration import measure_bank
    from imgaudit.runs.conclusion import conclude
    from imgaudit.runs.manifest import make_manifest, open_manifest, read_manifest, resume_portfolio
    from imgaudit.runs.measurement import measure_targets
    from imgaudit.schema.manifest import SKIPPED_MEASURE
    from imgaudit.similarity.matcher import standard_matcher

    matcher, lacking = standard_matcher()
    measures = {one.name: one.source for one in matcher.descriptors}
    measures |= {one.name: one.source for one in matcher.distances}
    measures |= {name: SKIPPED_MEASURE + one.skipped for name, one in lacking.items()}
    with Interruption().listening() as interruption, run.lock():
        begun = run.manifest_path.is_file()
        groups = read_manifest(run).groups if begun else group_targets(prepared.portfolio)
        manifest = make_manifest(
            sys.argv, config, prepared.sources, loaded, prepared.portfolio,
            policy=prepared.policy, groups=groups, measures=measures,
        )  # fmt: skip
        portfolio = resume_portfolio(prepared.portfolio, open_manifest(run.path, manifest))
        recorded = run.recorded()
        if begun:
            for remark in portfolio.remarks[len(prepared.portfolio.remarks) :]:
                say(f"note: {remark}", quiet=quiet)
            if lost := recorded.lost:
                say(f"note: {lost} records are damaged, or their images are gone; measured again", quiet=quiet)
        if prepared.decoys is not None:
            save_decoys(run, prepared.decoys, loaded, config)
        if prepared.bank is not None:
            keep_bank(run, prepared.bank)
        elif prepared.controls is not None and run.calibration_path.is_file():
            require_controls(run, prepared.controls)
        elif prepared.controls is not None:
            with progress("calibrating on controls", quiet=quiet) as advance:
                measure_bank(
                    run.path / "controls", prepared.controls, loaded, config, note=prepared.note,
                    on_bank=lambda bank: bank.write(run.calibration_path), on_progress=interruption.stopping(advance),
                )  # fmt: skip
        if run.calibration_path.is_file():
            # A kill between writing the bank and removing the work behind it leaves that work.
            shutil.rmtree(run.path / "controls", ignore_errors=True)
        with progress("auditing", quiet=quiet) as advance:
            for _ in measure_targets(
                run,
                portfolio,
                loaded,
                config,
                matcher=matcher,
                recorded=recorded,
                on_progress=interruption.stopping(advance),
            ):
                pass
        if prepared.collection is not None:
            from imgaudit.runs.reference import keep_reference

            say(f"looking {len(portfolio.targets)} images up in {prepared.collection.folder.name}", quiet=quiet)
            known = prepared.controls.targets if prepared.controls else []
            keep_reference(
                run, prepared.collection, {target.image.id: target.path for target in portfolio.targets},
                [target.path for target in known],
            )  # fmt: skip
        result = conclude(run)
        write_report(run, result)
    return result


def register(app: typer.Typer, heading: str) -> None:
    """Add the command."""
    app.command(name="audit", rich_help_panel=heading)(takes_records(_audit))


def _audit(
    *,
    targets: Targets,
    model: ModelChoice,
    captions: Captions = None,
    prompts: Prompts = None,
    reference: ReferenceOption = None,
    controls: Controls = None,
    calibration: Calibration = None,
    decoys: Decoys = None,
    policy: PolicyOption = None,
    out: Out = Path("imgaudit-run"),
    options: ConfigOptions,
    json_lines: Json = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Audit a folder of images against a model and write a run folder with a report per image."""
    config, sources = options.resolve()
    raise typer.Exit(
        run_audit(
            targets=targets, out=out, config=config, sources=sources, model=model,
            captions=captions, prompts=prompts, controls=controls, calibration=calibration, decoys=decoys,
            reference=reference, policy_file=policy, quiet=quiet, json_lines=json_lines, dry_run=dry_run,
        )
    )  # fmt: skip

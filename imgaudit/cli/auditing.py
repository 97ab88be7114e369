"""`imgaudit audit` and `imgaudit demo`: the commands that audit."""

import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from imgaudit.cli.audit_options import (
    BatchSize,
    Calibration,
    Captions,
    ChunkSize,
    Controls,
    Decoys,
    Device,
    Draws,
    DryRun,
    EffortOption,
    FramingOption,
    Guidance,
    Json,
    Level,
    Model,
    Out,
    PolicyOption,
    Prompts,
    Quiet,
    Rungs,
    SamplingSteps,
    Seed,
    Seeds,
    Steps,
    Targets,
    TokenEvaluations,
    TokenWords,
    given,
)
from imgaudit.cli.exit_codes import ExitCode, exit_code
from imgaudit.cli.terminal import complain, print_result, progress, say
from imgaudit.config import AuditConfig, FailOn, resolve_config
from imgaudit.exceptions import InputError
from imgaudit.policy import Policy, read_policy
from imgaudit.protocol import Effort, Framing


class Interruption:
    """Ctrl-C once finishes the chunk in hand, twice stops at once; either way nothing finished is lost."""

    def __init__(self) -> None:
        self.wanted = False

    @contextmanager
    def listening(self) -> Iterator["Interruption"]:
        """Replace the default Ctrl-C for the duration."""

        def on_signal(number: int, frame: object) -> None:
            if self.wanted:
                raise KeyboardInterrupt
            self.wanted = True
            complain("stopping after the images in hand; press Ctrl-C again to stop at once")

        previous = signal.signal(signal.SIGINT, on_signal)
        try:
            yield self
        finally:
            signal.signal(signal.SIGINT, previous)


def _dry_run(config: AuditConfig, policy: Policy, portfolio: Any, controls: int, to_calibrate: int) -> None:
    from imgaudit.measurement import rung_texts
    from imgaudit.planner import expected_evaluations, planner_line
    from imgaudit.records import INVERTED_RUNGS, TEXT_RUNGS, Skipped

    tried = [rung for rung in TEXT_RUNGS if rung.value in config.protocol.ladder.rungs]
    rungs = {
        rung: [not isinstance(rung_texts(t, rung, config.protocol, config.seed), Skipped) for t in portfolio.targets]
        for rung in tried
    }
    inverted = [rung.value for rung in INVERTED_RUNGS if rung.value in config.protocol.ladder.rungs]
    total = sum(
        expected_evaluations(config.protocol, len(inverted) + sum(has[number] for has in rungs.values()))
        for number in range(len(portfolio.targets))
    )
    total += to_calibrate * expected_evaluations(config.protocol, len(inverted) + len(tried))
    typer.echo(
        f"{portfolio.count} files: {len(portfolio.targets)} images to audit, {len(portfolio.skipped)} would be skipped"
    )
    for skipped in portfolio.skipped:
        typer.echo(ascii(f"skipped: {skipped.path}: {skipped.skipped}")[1:-1])
    typer.echo(
        "rungs: "
        + ", ".join(
            [*(f"{rung.value} for {sum(has)}" for rung, has in rungs.items()), *(f"{r} for all" for r in inverted)]
        )
    )
    typer.echo(f"protocol {config.protocol.hash[:16]}: {config.protocol.canonical()}")
    typer.echo(f"policy {policy.hash[:16]}: {policy.model_dump_json()}")
    typer.echo(
        f"network evaluations: at most {total:,}"
        + (f", of which controls: {to_calibrate} images" if to_calibrate else "")
    )
    typer.echo(planner_line(controls, max(1, len(portfolio.targets)), policy.level))


def run_audit(
    *,
    targets: Path,
    model: str,
    out: Path,
    config: AuditConfig,
    sources: dict[str, str],
    captions: Path | None = None,
    prompts: Path | None = None,
    controls: Path | None = None,
    calibration: Path | None = None,
    decoys: Path | None = None,
    policy_file: Path | None = None,
    quiet: bool = False,
    json_lines: bool = False,
    dry_run: bool = False,
) -> ExitCode:
    """The whole audit: read, calibrate if asked, measure, decide, render."""
    from imgaudit.audit import calibrate, conclude, group_targets, measure_targets, save_decoys
    from imgaudit.calibration import NullBank, counting_controls
    from imgaudit.captions import CaptionSource
    from imgaudit.manifest import make_manifest, open_run
    from imgaudit.portfolio import read_portfolio
    from imgaudit.report import write_report
    from imgaudit.store import RunFolder

    if controls is not None and calibration is not None:
        raise InputError("give --controls or --calibration, not both")
    policy = read_policy(policy_file, config.policy) if policy_file is not None else config.policy
    portfolio = read_portfolio(targets, CaptionSource(targets, captions), _table(targets, prompts))
    bank = NullBank.read(calibration) if calibration is not None else None
    control_images = read_portfolio(controls, CaptionSource(controls)) if controls is not None else None
    decoy_images = (
        read_portfolio(decoys, CaptionSource(decoys, sidecars=False)) if decoys is not None else control_images
    )
    given = len(control_images.targets) if control_images else 0
    known = len(bank.controls) if bank else counting_controls(given)
    if dry_run:
        _dry_run(config, policy, portfolio, known, given)
        return ExitCode.DECIDED

    from imgaudit.models import load_model

    say(f"loading model {model}", quiet=quiet)
    loaded = load_model(model, config.device)
    if bank is not None:
        bank.require(loaded.denoiser.fingerprint, config.protocol)
    run = RunFolder(out)
    with Interruption().listening() as interruption, run.lock():
        groups = group_targets(portfolio, loaded, config.framing)
        open_run(run, make_manifest(sys.argv, config, sources, loaded, portfolio, policy=policy, groups=groups))
        if decoy_images is not None:
            save_decoys(run, decoy_images, loaded, config)
        if bank is None and control_images is not None and not run.calibration_path.is_file():
            with progress("calibrating on controls", quiet=quiet) as advance:
                bank = calibrate(
                    run.path / "controls",
                    control_images,
                    loaded,
                    config,
                    note=f"--controls {controls}",
                    on_progress=stopping(advance, interruption),
                )
        if bank is not None:
            # Frozen before any target is scored.
            bank.write(run.calibration_path)
        with progress("auditing", quiet=quiet) as advance:
            for _ in measure_targets(run, portfolio, loaded, config, on_progress=stopping(advance, interruption)):
                pass
        result = conclude(run)
        write_report(run, result)
    if json_lines:
        for finding in result.findings:
            typer.echo(finding.model_dump_json())
        typer.echo(result.summary.model_dump_json())
    else:
        print_result(result)
    say(f"report: {run.path / 'report' / 'index.html'}", quiet=quiet)
    return exit_code(result, config.fail_on)


def stopping(advance: Any, interruption: Interruption) -> Any:
    """A progress callback that ends the command where Ctrl-C asked for it, and says how to continue."""

    def on_progress(done: int, total: int) -> None:
        advance(done, total)
        if interruption.wanted and done < total:
            again = shlex.join(["imgaudit", *sys.argv[1:]])
            complain(f"stopped with {done} of {total} images finished; continue with: {again}")
            raise typer.Exit(ExitCode.INTERRUPTED)

    return on_progress


def _table(targets: Path, prompts: Path | None) -> Any:
    from imgaudit.captions import CaptionSource

    return CaptionSource(targets, prompts, sidecars=False) if prompts is not None else None


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(name="audit")(_audit)
    app.command(name="demo")(_demo)


def _audit(
    targets: Targets,
    model: Model,
    out: Out = Path("imgaudit-run"),
    controls: Controls = None,
    calibration: Calibration = None,
    decoys: Decoys = None,
    captions: Captions = None,
    prompts: Prompts = None,
    policy: PolicyOption = None,
    effort: EffortOption = None,
    framing: FramingOption = None,
    steps: Steps = None,
    draws: Draws = None,
    seeds: Seeds = None,
    num_inference_steps: SamplingSteps = None,
    guidance_scale: Guidance = None,
    rung: Rungs = None,
    token_words: TokenWords = None,
    token_evaluations: TokenEvaluations = None,
    level: Level = None,
    seed: Seed = None,
    chunk_size: ChunkSize = None,
    batch_size: BatchSize = None,
    device: Device = None,
    fail_on: Annotated[
        FailOn | None, typer.Option(help="Which verdicts exit with 1. [default: replicated]", show_default=False)
    ] = None,
    operator: Annotated[
        str | None, typer.Option(help="Who runs the audit, for the manifest.", show_default=False)
    ] = None,
    quiet: Quiet = False,
    json_lines: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Audit a folder of images against a model and write a run folder with a report per image."""
    config, sources = resolve_config(
        given(
            guidance_scale, rung, effort=effort, framing=framing, steps=steps, draws=draws, seeds=seeds,
            num_inference_steps=num_inference_steps, token_words=token_words, token_evaluations=token_evaluations,
            level=level, seed=seed, chunk_size=chunk_size, batch_size=batch_size, device=device, fail_on=fail_on,
            operator=operator,
        )
    )  # fmt: skip
    raise typer.Exit(
        run_audit(
            targets=targets, model=model, out=out, config=config, sources=sources, captions=captions, prompts=prompts,
            controls=controls, calibration=calibration, decoys=decoys, policy_file=policy, quiet=quiet,
            json_lines=json_lines, dry_run=dry_run,
        )
    )  # fmt: skip


def _demo(
    out: Out = Path("imgaudit-demo"),
    seed: Seed = None,
    batch_size: BatchSize = None,
    device: Device = None,
    quiet: Quiet = False,
    json_lines: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Audit the bundled portfolio against the bundled model, which memorised some of it. Needs no download."""
    from imgaudit.models.loading import bundled_lab

    lab = bundled_lab("demo")
    given = {"seed": seed, "batch_size": batch_size, "device": device}
    # The bank that comes with the demo holds for this protocol only, so configuration files have no say here.
    config = AuditConfig(
        effort=Effort.QUICK,
        framing=Framing.PAD,
        fail_on=FailOn.NEVER,
        **{key: value for key, value in given.items() if value is not None},
    )
    sources = {key: "demo" if key in config.model_fields_set else "default" for key in AuditConfig.model_fields}
    raise typer.Exit(
        run_audit(
            targets=lab / "portfolio", model="demo", out=out, config=config, sources=sources,
            calibration=lab / "calibration.json", quiet=quiet, json_lines=json_lines, dry_run=dry_run,
        )
    )  # fmt: skip

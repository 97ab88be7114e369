"""`imgaudit audit`, `demo` and `calibrate`: the commands that run a model."""

import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from imgaudit.cli.exit_codes import ExitCode, exit_code
from imgaudit.cli.terminal import complain, print_result, progress, say
from imgaudit.config import AuditConfig, Effort, FailOn, Framing, resolve_config
from imgaudit.exceptions import InputError

Targets = Annotated[Path, typer.Argument(metavar="TARGETS", help="Folder of images to audit.", show_default=False)]
Model = Annotated[
    str,
    typer.Option(
        "--model", "-m", help="Diffusers folder, hub id[@revision], or a bundled lab: demo.", show_default=False
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Run folder; an existing one of the same audit is continued.")]
EffortOption = Annotated[Effort | None, typer.Option(help="Named budget. [default: standard]", show_default=False)]
FramingOption = Annotated[
    Framing | None,
    typer.Option(help="How images that are not square meet the model. [default: crop]", show_default=False),
]
Steps = Annotated[int | None, typer.Option(help="Inversion steps, instead of the effort's.", show_default=False)]
Draws = Annotated[int | None, typer.Option(help="Draws per inversion step.", show_default=False)]
Seeds = Annotated[int | None, typer.Option(help="Seeds per rung.", show_default=False)]
SamplingSteps = Annotated[int | None, typer.Option("--num-inference-steps", help="Sampling steps.", show_default=False)]
Guidance = Annotated[
    list[float] | None, typer.Option("--guidance-scale", help="Guidance scale; may be repeated.", show_default=False)
]
Level = Annotated[float | None, typer.Option(help="False discovery rate. [default: 0.05]", show_default=False)]
Seed = Annotated[int | None, typer.Option(help="Run seed. [default: 0]", show_default=False)]
ChunkSize = Annotated[int | None, typer.Option(help="Images inverted together. [default: 8]", show_default=False)]
BatchSize = Annotated[int | None, typer.Option(help="Largest network batch. [default: 64]", show_default=False)]
Device = Annotated[str | None, typer.Option(help="auto, cpu, mps, cuda or cuda:N. [default: auto]", show_default=False)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no talk.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON line per finding on stdout, then the summary.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done and what it costs; run nothing.")]
Captions = Annotated[
    Path | None,
    typer.Option(
        help="CSV or JSONL with file_name and text. [default: sidecars and metadata.jsonl]", show_default=False
    ),
]
Prompts = Annotated[
    Path | None, typer.Option(help="CSV or JSONL with file_name and the prompts you would type.", show_default=False)
]
Controls = Annotated[
    Path | None, typer.Option(help="Folder of images known not to be in the training set.", show_default=False)
]
Calibration = Annotated[Path | None, typer.Option(help="Null bank made by `imgaudit calibrate`.", show_default=False)]


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


def _dry_run(config: AuditConfig, portfolio: Any, controls: int, to_calibrate: int) -> None:
    from imgaudit.planner import expected_evaluations, planner_line
    from imgaudit.records import Rung

    total = sum(expected_evaluations(config.protocol, 1 + len(t.texts)) for t in portfolio.targets)
    total += to_calibrate * expected_evaluations(config.protocol, 2)
    rungs = {rung: sum(rung in t.texts for t in portfolio.targets) for rung in Rung if rung is not Rung.EMBEDDING}
    typer.echo(
        f"{portfolio.count} files: {len(portfolio.targets)} images to audit, {len(portfolio.skipped)} would be skipped"
    )
    for skipped in portfolio.skipped:
        typer.echo(ascii(f"skipped: {skipped.path}: {skipped.skipped}")[1:-1])
    typer.echo(f"with a prompt: {rungs[Rung.PROMPT]}, with a caption: {rungs[Rung.CAPTION]}")
    typer.echo(f"protocol {config.protocol.hash[:16]}: {config.protocol.canonical()}")
    typer.echo(
        f"network evaluations: {total:,}" + (f", of which controls: {to_calibrate} images" if to_calibrate else "")
    )
    typer.echo(planner_line(controls, max(1, len(portfolio.targets)), config.level))


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
    quiet: bool = False,
    json_lines: bool = False,
    dry_run: bool = False,
) -> ExitCode:
    """The whole audit: read, calibrate if asked, measure, decide, render."""
    from imgaudit.audit import calibrate, conclude, measure_targets
    from imgaudit.calibration import NullBank, counting_controls
    from imgaudit.captions import CaptionSource
    from imgaudit.manifest import make_manifest, open_run
    from imgaudit.portfolio import read_portfolio
    from imgaudit.report import write_report
    from imgaudit.store import RunFolder

    if controls is not None and calibration is not None:
        raise InputError("give --controls or --calibration, not both")
    portfolio = read_portfolio(targets, CaptionSource(targets, captions), _table(targets, prompts))
    bank = NullBank.read(calibration) if calibration is not None else None
    control_images = read_portfolio(controls, CaptionSource(controls)) if controls is not None else None
    given = len(control_images.targets) if control_images else 0
    known = len(bank.controls) if bank else counting_controls(given)
    if dry_run:
        _dry_run(config, portfolio, known, given)
        return ExitCode.DECIDED

    from imgaudit.models import load_model

    say(f"loading model {model}", quiet=quiet)
    loaded = load_model(model, config.device)
    if bank is not None:
        bank.require(loaded.denoiser.fingerprint, config.protocol)
    run = RunFolder(out)
    with Interruption().listening() as interruption, run.lock():
        open_run(run, make_manifest(sys.argv, config, sources, loaded, portfolio))
        if bank is None and control_images is not None and not run.calibration_path.is_file():
            with progress("calibrating on controls", quiet=quiet) as advance:
                bank = calibrate(
                    run.path / "controls",
                    control_images,
                    loaded,
                    config,
                    source=f"--controls {controls}",
                    on_progress=_stopping(advance, interruption),
                )
        if bank is not None:
            # Frozen before any target is scored.
            bank.write(run.calibration_path)
        with progress("auditing", quiet=quiet) as advance:
            for _ in measure_targets(run, portfolio, loaded, config, on_progress=_stopping(advance, interruption)):
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


def _stopping(advance: Any, interruption: Interruption) -> Any:
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
    app.command(name="calibrate")(_calibrate)


def _audit(
    targets: Targets,
    model: Model,
    out: Out = Path("imgaudit-run"),
    controls: Controls = None,
    calibration: Calibration = None,
    captions: Captions = None,
    prompts: Prompts = None,
    effort: EffortOption = None,
    framing: FramingOption = None,
    steps: Steps = None,
    draws: Draws = None,
    seeds: Seeds = None,
    num_inference_steps: SamplingSteps = None,
    guidance_scale: Guidance = None,
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
        {
            "effort": effort, "framing": framing, "steps": steps, "draws": draws, "seeds": seeds,
            "num_inference_steps": num_inference_steps,
            "guidance_scales": tuple(guidance_scale) if guidance_scale else None,
            "level": level, "seed": seed, "chunk_size": chunk_size, "batch_size": batch_size, "device": device,
            "fail_on": fail_on, "operator": operator,
        }
    )  # fmt: skip
    raise typer.Exit(
        run_audit(
            targets=targets, model=model, out=out, config=config, sources=sources, captions=captions, prompts=prompts,
            controls=controls, calibration=calibration, quiet=quiet, json_lines=json_lines, dry_run=dry_run,
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


def _calibrate(
    controls: Annotated[Path, typer.Argument(metavar="CONTROLS", help="Folder of images known not to be in training.")],
    model: Model,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write the null bank to.")] = Path(
        "calibration.json"
    ),
    source: Annotated[str, typer.Option(help="Why these images cannot be in the training set; kept in the bank.")] = "",
    effort: EffortOption = None,
    framing: FramingOption = None,
    steps: Steps = None,
    draws: Draws = None,
    seeds: Seeds = None,
    num_inference_steps: SamplingSteps = None,
    guidance_scale: Guidance = None,
    seed: Seed = None,
    chunk_size: ChunkSize = None,
    batch_size: BatchSize = None,
    device: Device = None,
    quiet: Quiet = False,
) -> None:
    """Put controls through the audit's procedure and freeze their scores as a null bank for this model and protocol."""
    from imgaudit.audit import calibrate
    from imgaudit.captions import CaptionSource
    from imgaudit.models import load_model
    from imgaudit.portfolio import read_portfolio

    config, _ = resolve_config(
        {
            "effort": effort, "framing": framing, "steps": steps, "draws": draws, "seeds": seeds,
            "num_inference_steps": num_inference_steps,
            "guidance_scales": tuple(guidance_scale) if guidance_scale else None,
            "seed": seed, "chunk_size": chunk_size, "batch_size": batch_size, "device": device,
        }
    )  # fmt: skip
    portfolio = read_portfolio(controls, CaptionSource(controls))
    for skipped in portfolio.skipped:
        say(f"left out: {skipped.path}: {skipped.skipped}", quiet=quiet)
    loaded = load_model(model, config.device)
    with Interruption().listening() as interruption, progress("calibrating", quiet=quiet) as advance:
        bank = calibrate(
            out.with_name(out.name + ".work"),
            portfolio,
            loaded,
            config,
            source=source or f"folder {controls}",
            on_progress=_stopping(advance, interruption),
        )
    bank.write(out)
    typer.echo(f"{len(bank.controls)} controls ({len(bank.fit)} more fitted complexity) -> {out}")

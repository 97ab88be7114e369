"""`imgaudit benchmark`: the tool's own error rates, printed with n, interval and seed."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from imgaudit.cli.terminal import progress, say

benchmark = typer.Typer(help="The tool's own error rates, with n, interval and seed.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(benchmark, name="benchmark")


@benchmark.callback()
def _group() -> None:
    """The tool's own error rates, with n, interval and seed."""


@benchmark.command()
def detection(
    model: Annotated[str, typer.Option("--model", "-m", help="Bundled lab, or a lab folder with benchmark/.")] = "demo",
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Run folder; an interrupted benchmark continues from it.")
    ] = Path("imgaudit-benchmark"),
    seed: Annotated[int, typer.Option(help="Run seed; the bank has its own.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, mps, cuda or cuda:N.")] = "auto",
    json_output: Annotated[bool, typer.Option("--json", help="The report as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Memorised against held-out, seen-once and planted-not-reproduced images of a lab; none of them is in the bank."""
    from imgaudit.audit import conclude, measure_targets
    from imgaudit.benchmark.detection import detection_report
    from imgaudit.calibration import NullBank
    from imgaudit.captions import CaptionSource
    from imgaudit.config import AuditConfig
    from imgaudit.exceptions import InputError
    from imgaudit.lab.description import LabDescription
    from imgaudit.manifest import make_manifest, open_run
    from imgaudit.models import load_model
    from imgaudit.models.loading import BUNDLED, bundled_lab
    from imgaudit.portfolio import read_portfolio
    from imgaudit.store import RunFolder

    lab_folder = bundled_lab(model) if model in BUNDLED else Path(model)
    lab = LabDescription.read(lab_folder / "lab.json")
    bank = NullBank.read(lab_folder / "calibration.json")
    inversion, generation = bank.protocol.inversion, bank.protocol.generation
    config = AuditConfig(
        framing=bank.protocol.framing,
        steps=inversion.steps,
        draws=inversion.draws,
        seeds=generation.seeds,
        num_inference_steps=generation.num_inference_steps,
        guidance_scales=generation.guidance_scales,
        seed=seed,
        device=device,
    )
    images = lab_folder / "benchmark"
    portfolio = read_portfolio(images, CaptionSource(images))
    used = {control.sha256 for control in [*bank.controls, *bank.fit]}
    if shared := used & {target.image.sha256 for target in portfolio.targets}:
        raise InputError(f"{len(shared)} benchmark images are in the null bank; they must be kept apart")
    loaded = load_model(model if model in BUNDLED else str(lab_folder / "model"), device)
    bank.require(loaded.denoiser.fingerprint, config.protocol)
    run = RunFolder(out)
    with run.lock():
        open_run(run, make_manifest(sys.argv, config, {}, loaded, portfolio))
        bank.write(run.calibration_path)
        with progress("benchmarking", quiet=quiet) as advance:
            for _ in measure_targets(run, portfolio, loaded, config, on_progress=advance):
                pass
        result = conclude(run)
    report = detection_report(result.findings, run.read_measurements()[0], bank, lab, level=config.level, seed=seed)
    if json_output:
        typer.echo(report.model_dump_json(indent=2))
        return
    typer.echo(
        f"lab {report.lab}, seed {seed}, {report.controls} controls in the bank, level {report.level:g}, protocol "
        f"{report.protocol_hash[:16]}\n{report.network_evaluations_per_image} network evaluations and "
        f"{report.seconds_per_image:.1f} s per image\n"
    )
    typer.echo("separation of memorised images            against        AUC    95 % interval    n")
    for row in report.separations:
        typer.echo(
            f"{row.name:42}{row.against:13} {row.auc:.3f}   {row.low:.3f} to {row.high:.3f}   "
            f"{row.positives} / {row.negatives}"
        )
    for title, rows in (("\nper group", report.rates), ("\nby repeat count", report.by_repeats)):
        typer.echo(f"{title:42}{'images':25}  k / n      rate   95 % interval")
        for rate in rows:
            typer.echo(
                f"{rate.name:41}{rate.group:25} {rate.hits:3} / {rate.n:<4} {rate.rate:7.1%}   "
                f"{rate.low:.1%} to {rate.high:.1%}"
            )
    typer.echo("\nhoped for")
    for target in report.targets:
        typer.echo(f"{'met   ' if target.met else 'MISSED'} {target.name}: wanted {target.wanted}, got {target.got}")
    say(f"run folder: {out}", quiet=quiet)

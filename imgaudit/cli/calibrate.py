"""`imgaudit calibrate` and `imgaudit bank`: null banks made, added to, merged and described."""

from pathlib import Path
from typing import Annotated

import typer

from imgaudit.cli.batch_size import settled
from imgaudit.cli.folders import read_folder
from imgaudit.cli.interruption import Interruption
from imgaudit.cli.model_choice import ModelChoice
from imgaudit.cli.options import (
    BatchSize,
    Behind,
    ChunkSize,
    Compiled,
    Device,
    Draws,
    EffortOption,
    FramingOption,
    Guidance,
    InvMMSteps,
    LearningRate,
    Loras,
    Measures,
    Model,
    ModelConfig,
    Offline,
    Offload,
    Quiet,
    Rescan,
    Rungs,
    SamplingSteps,
    ScoreAfter,
    Seed,
    Seeds,
    Steps,
    Streams,
    TokenEvaluations,
    TokenWords,
    Variant,
    given,
)
from imgaudit.cli.terminal import progress, say
from imgaudit.io.offline import go_offline
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.config import resolve_config

bank = typer.Typer(help="Null banks: what controls gave under one model and protocol.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(name="calibrate")(_calibrate)
    app.add_typer(bank, name="bank")


@bank.command()
def merge(
    banks: Annotated[list[Path], typer.Argument(metavar="BANK...", help="Two or more null banks.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write the merged bank to.")],
) -> None:
    """Put null banks of one model and protocol together, as if all controls had been measured at once."""
    from imgaudit.decision.null_bank import NullBank

    whole = NullBank.read(banks[0])
    for path in banks[1:]:
        whole = whole.merge(NullBank.read(path))
    whole.write(out)
    typer.echo(f"{len(whole.controls)} controls, {len(whole.kept_out)} more kept out of the bank -> {out}")


@bank.command()
def info(path: Annotated[Path, typer.Argument(metavar="BANK", help="Null bank.")]) -> None:
    """Say what a null bank holds: model, protocol, populations, and what its controls can find."""
    from imgaudit.decision.alarms import find_bank_alarms
    from imgaudit.decision.folder import check_forcing
    from imgaudit.decision.null_bank import NullBank
    from imgaudit.runs.planner import planner_line
    from imgaudit.schema.policy import Policy

    held, policy = NullBank.read(path), Policy()
    typer.echo(ascii(f"model {held.model} {held.model_fingerprint[:16]}, protocol {held.protocol.hash[:16]}")[1:-1])
    for source in held.sources:
        line = f"{len(source.sha256s)} images: {source.note} (made {source.made}, seed {source.seed})"
        typer.echo(ascii(line)[1:-1])
    typer.echo(f"{len(held.controls)} give p-values, {len(held.kept_out)} are kept out of the bank")
    if held.protocol.invmm is not None:
        typer.echo(f"measured by InvMM as well, {held.protocol.invmm.steps} steps at most")
    for targets in (1, 10, 100):
        typer.echo(f"for {targets} targets: {planner_line(len(held.controls), targets, policy.level)}")
    for alarm in find_bank_alarms(held, policy, check_forcing(held, policy)):
        typer.echo(f"alarm: {alarm.message}")


def _calibrate(
    controls: Annotated[Path, typer.Argument(metavar="CONTROLS", help="Folder of images known not to be in training.")],
    model: Model,
    lora: Loras = None,
    variant: Variant = None,
    model_config: ModelConfig = None,
    offload: Offload = "none",
    compiled: Compiled = False,
    mitigation: Behind = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write the null bank to.")] = Path(
        "calibration.json"
    ),
    note: Annotated[str, typer.Option(help="Why these images cannot be in the training set; kept in the bank.")] = "",
    append: Annotated[
        bool, typer.Option("--append", help="Add to the bank that --out names, if there is one.")
    ] = False,
    effort: EffortOption = None,
    framing: FramingOption = None,
    steps: Steps = None,
    draws: Draws = None,
    learning_rate: LearningRate = None,
    score_after: ScoreAfter = None,
    seeds: Seeds = None,
    num_inference_steps: SamplingSteps = None,
    guidance_scale: Guidance = None,
    rung: Rungs = None,
    streams: Streams = None,
    token_words: TokenWords = None,
    token_evaluations: TokenEvaluations = None,
    measure: Measures = None,
    invmm_steps: InvMMSteps = None,
    seed: Seed = None,
    chunk_size: ChunkSize = None,
    batch_size: BatchSize = None,
    device: Device = None,
    offline: Offline = None,
    rescan: Rescan = None,
    quiet: Quiet = False,
) -> None:
    """Put controls through the audit's procedure and freeze their scores as a null bank for this model and protocol."""
    from imgaudit.decision.null_bank import NullBank
    from imgaudit.diffusion.generation import require_steps
    from imgaudit.diffusion.inversion import require_streams
    from imgaudit.io.captions import CaptionSource
    from imgaudit.runs.calibration import measure_bank

    config, sources = resolve_config(
        given(
            guidance_scale, rung, measure, effort=effort, framing=framing, steps=steps, draws=draws, seeds=seeds,
            invmm_steps=invmm_steps,
            learning_rate=learning_rate, score_after=score_after,
            num_inference_steps=num_inference_steps, streams=streams, token_words=token_words,
            token_evaluations=token_evaluations, seed=seed, chunk_size=chunk_size, batch_size=batch_size,
            device=device, offline=offline, rescan=rescan,
        )
    )  # fmt: skip
    if config.offline:
        go_offline()
    portfolio = read_folder(controls, CaptionSource(controls), config, quiet=quiet)
    for skipped in portfolio.skipped:
        say(f"left out: {skipped.path}: {skipped.skipped}", quiet=quiet)
    loaded = ModelChoice(model, lora or (), variant, model_config, offload, compiled, mitigation).load(config.device)
    require_streams(loaded.denoiser, config.streams)
    require_steps(loaded.denoiser, config.protocol.generation.num_inference_steps)
    earlier = NullBank.read(out) if append and out.is_file() else None
    if earlier is not None:
        earlier.require(loaded.denoiser.fingerprint, config.protocol)

    def write(bank: NullBank) -> None:
        (bank if earlier is None else earlier.merge(bank)).write(out)

    work = out.with_name(out.name + ".work")
    config, _ = settled(config, sources, loaded, RunFolder(work), quiet=quiet)
    with Interruption().listening() as interruption, progress("calibrating", quiet=quiet) as advance:
        measure_bank(
            work,
            portfolio,
            loaded,
            config,
            note=note or f"folder {controls}",
            on_bank=write,
            on_progress=interruption.stopping(advance),
        )
    made = NullBank.read(out)
    typer.echo(f"{len(made.controls)} controls, {len(made.kept_out)} more kept out of the bank -> {out}")

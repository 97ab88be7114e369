"""`imgaudit mitigate`: what keeps a model from repeating what it memorised, and what it costs."""

import json
import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from imgaudit.cli.exit_codes import ExitCode
from imgaudit.cli.folders import read_captioned, read_prompts_or_folder
from imgaudit.cli.model_choice import ModelChoice, ModelFiles
from imgaudit.cli.options import Batch, Device, FramingOption, JsonReport, Offline, Out, Quiet, Seed
from imgaudit.cli.paths import (
    require_file,
    require_folder,
    require_model,
    require_new_file,
    require_new_folder,
    require_present,
)
from imgaudit.cli.signatures import Heading, argument, flag, option, takes_records
from imgaudit.cli.terminal import print_wrapped, progress, say
from imgaudit.exceptions import ConfigError, InputError
from imgaudit.schema.protocol import Framing

if TYPE_CHECKING:
    from imgaudit.mitigation.pruning import PipelineDenoiser

group = typer.Typer(
    help="Measures against copying: keep a model from repeating images, and see what else that changes.",
    no_args_is_help=True,
)

Folder = Annotated[
    Path, option(Heading.OUTPUT, "New model folder; nothing is overwritten.", "--out", "-o", metavar="FOLDER",
                 callback=require_new_folder)
]  # fmt: skip
GuidanceScale = Annotated[float, option(Heading.BUDGET, "Guidance scale of the sampling.", metavar="X", min=1)]
SamplingSteps = Annotated[int, option(Heading.BUDGET, "Sampling steps of a whole image.", metavar="N", min=1, max=1000)]


def register(app: typer.Typer, heading: str) -> None:
    """Add the group."""
    app.add_typer(group, name="mitigate", rich_help_panel=heading)


@group.command(name="list")
def list_mitigations() -> None:
    """List the measures against copying that --mitigation takes, with their settings."""
    from imgaudit.mitigation.registry import MITIGATIONS

    for name, kind in MITIGATIONS.items():
        print_wrapped(f"{name:16}{kind.description}", indent=" " * 16)
        for key, setting in kind.settings.items():
            bounds = f"{setting.low:g} to {setting.high:g}, by default {setting.default:g}"
            print_wrapped(f"  {key:14}{setting.meaning}; {bounds}", indent=" " * 16)


@group.command()
@takes_records
def evaluate(
    targets: Annotated[Path, argument("TARGETS", help="Images that the model is thought to reproduce, with captions.",
        callback=require_folder)],
    model: ModelFiles,
    general: Annotated[Path, option(Heading.SUBJECT, "Other images with captions, to "
        "see what the measures change besides.", metavar="FOLDER", callback=require_folder)],
    mitigation: Annotated[list[str] | None, option(Heading.METHOD, "A measure against copying while "
        "images are generated; see `imgaudit mitigate list`. May be repeated.", metavar="NAME")] = None,
    mitigated_model: Annotated[list[str] | None, option(Heading.METHOD, "Changed model to compare with: "
        "pruned or fine-tuned against copying. May be repeated.", metavar="MODEL", callback=require_model)] = None,
    clip: Annotated[Path | None, option(Heading.METHOD, "CLIP network, to judge how well "
        "images fit their prompts. Without it this is not judged.", metavar="FOLDER", callback=require_folder)] = None,
    aesthetic: Annotated[Path | None, option(Heading.METHOD, "Network on top of --clip, a safetensors "
        "file, to judge image quality. Without it this is not judged.", metavar="FILE", callback=require_file)] = None,
    images: Annotated[int, option(Heading.BUDGET, "Images generated per prompt.", min=1, max=1000)] = 10,
    guidance_scale: GuidanceScale = 7.5,
    num_inference_steps: SamplingSteps = 50,
    framing: FramingOption = Framing.PAD,
    seed: Seed = 0,
    out: Out = Path("imgaudit-mitigation"),
    batch_size: Batch = 64,
    device: Device = None,
    offline: Offline = False,
    json_output: JsonReport = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Compare a model with and without measures against copying: how many copies are left, and what else changes."""
    from imgaudit.io.offline import go_offline
    from imgaudit.mitigation.evaluation import EvaluationSettings, EvaluationTask
    from imgaudit.mitigation.evaluation_run import EvaluationRun, load_judges
    from imgaudit.mitigation.evaluation_summary import figure_lines, summarise
    from imgaudit.report.mitigation import write_mitigation

    if not mitigation and not mitigated_model:
        raise ConfigError("nothing to evaluate: give --mitigation or --mitigated-model, or both")
    if aesthetic is not None and clip is None:
        raise ConfigError("--aesthetic needs --clip: it judges the image vectors of that network")
    if offline:
        go_offline()
    judges = load_judges(clip, aesthetic)
    settings = EvaluationSettings(
        images=images, guidance_scale=guidance_scale, num_inference_steps=num_inference_steps, seed=seed
    )
    loaded = model.load(device)
    triggers, clean = (
        read_captioned(folder, loaded.denoiser.resolution, framing, quiet=quiet) for folder in (targets, general)
    )
    if shared := {one.sha256 for one in triggers} & {one.sha256 for one in clean}:
        raise InputError(f"{len(shared)} images are both in TARGETS and in --general: remove them from one of the two")
    run = EvaluationRun(out, EvaluationTask(triggers, clean, settings, judges), batch_size)
    with progress("evaluating", quiet=quiet) as advance:
        others = [(name, partial(ModelChoice(name).load, device)) for name in mitigated_model or []]
        table = run.evaluate(loaded, mitigation or [], others, advance)
    figures = summarise(table)
    page = write_mitigation(out, table, figures)
    if json_output:
        typer.echo(json.dumps(figures.model_dump(mode="json"), allow_nan=False))
    else:
        for line in figure_lines(figures):
            typer.echo(line)
    say("report:", str(page), quiet=quiet)
    raise typer.Exit(ExitCode.DECIDED)


@group.command()
@takes_records
def locate(
    prompts: Annotated[Path, argument("PROMPTS", help="Memorised prompts: .txt with one per line, or .csv or .jsonl "
        "with a column prompt.", callback=require_present)],
    model: ModelFiles,
    out: Annotated[Path, option(Heading.OUTPUT, "Mask file to write.", "--out", "-o",
        metavar="FILE", callback=require_new_file)] = Path("mask.safetensors"),
    reference: Annotated[Path | None, option(Heading.CONTROLS, "Such a file with other prompts, to compare with.",
        "--other-prompts", "--reference", metavar="FILE", default="the empty prompt",
        callback=require_present)] = None,
    sparsity: Annotated[float, option(Heading.METHOD, "Share of each row of weights to look at.",
        metavar="SHARE")] = 0.05,
    steps: Annotated[int, option(Heading.METHOD, "Sampling steps to look at, from the first one on.", min=1,
        max=1000)] = 10,
    num_inference_steps: SamplingSteps = 50,
    guidance_scale: GuidanceScale = 7.5,
    seed: Seed = 0,
    batch_size: Batch = 64,
    device: Device = None,
    json_output: JsonReport = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Find the weights that memorised prompts use more than others, in feed-forward blocks (Chavhan et al. 2024)."""
    from imgaudit.diffusion.executor import Executor
    from imgaudit.mitigation import pruning
    from imgaudit.mitigation.activations import TrajectorySettings
    from imgaudit.mitigation.mask_file import write_mask

    if not 0 < sparsity <= 1:
        raise ConfigError(f"--sparsity must be above 0 and at most 1, but got {sparsity:g}")
    settings = TrajectorySettings(
        steps=steps, sampling_steps=num_inference_steps, guidance_scale=guidance_scale, seed=seed
    )
    targets = [one.text for one in read_prompts_or_folder(prompts, quiet=True)]
    compared = [one.text for one in read_prompts_or_folder(reference, quiet=True)] if reference else []
    denoiser = _load(model, device)
    with progress("locating", quiet=quiet) as advance:
        mask, facts = pruning.locate(
            denoiser, targets, compared, sparsity=sparsity, settings=settings, executor=Executor(batch_size),
            on_progress=advance,
        )  # fmt: skip
    write_mask(out, mask, facts)
    words = (
        f"{out}: {facts.density:.2%} of the weights of {len(mask)} feed-forward blocks, by {facts.targets} prompts "
        f"against {facts.references}"
    )
    _tell({"mask": str(out), "layers": len(mask), **facts.model_dump(mode="json")}, words, json_output=json_output)


@group.command(name="locate-images")
@takes_records
def locate_images(
    targets: Annotated[Path, argument("TARGETS", help="Images that the model reproduces, with captions.",
        callback=require_folder)],
    model: ModelFiles,
    retain: Annotated[Path, option(Heading.CONTROLS, "Other images with captions, for which the model is to stay as it "
        "is.", metavar="FOLDER", callback=require_folder)],
    out: Annotated[Path, option(Heading.OUTPUT, "Mask file to write.", "--out", "-o",
        metavar="FILE", callback=require_new_file)] = Path("mask.safetensors"),
    share: Annotated[float, option(Heading.METHOD, "Share of all weights to mark.", metavar="SHARE")] = 0.03,
    draws: Annotated[int, option(Heading.BUDGET, "Draws of noise for each image.", min=1, max=1000)] = 8,
    seed: Seed = 0,
    framing: FramingOption = Framing.PAD,
    device: Device = None,
    json_output: JsonReport = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Find the weights that the errors of TARGETS depend on, more than those of other images (Foster et al. 2024)."""
    from imgaudit.mitigation.importance import ImportanceSettings, locate_by_importance
    from imgaudit.mitigation.mask_file import write_mask

    if not 0 < share <= 1:
        raise ConfigError(f"--share must be above 0 and at most 1, but got {share:g}")
    denoiser = _load(model, device)
    located, others = (
        read_captioned(folder, denoiser.resolution, framing, quiet=quiet) for folder in (targets, retain)
    )
    if shared := {one.sha256 for one in located} & {one.sha256 for one in others}:
        raise InputError(f"{len(shared)} images are both in TARGETS and in --retain: remove them from one of the two")
    settings = ImportanceSettings(share=share, draws=draws, seed=seed)
    with progress("locating", quiet=quiet) as advance:
        mask, facts = locate_by_importance(denoiser, located, others, settings, on_progress=advance)
    write_mask(out, mask, facts)
    words = (
        f"{out}: {facts.density:.2%} of the weights of {len(mask)} layers, by {facts.targets} images against "
        f"{facts.references}"
    )
    _tell({"mask": str(out), "layers": len(mask), **facts.model_dump(mode="json")}, words, json_output=json_output)


@group.command()
@takes_records
def prune(
    mask: Annotated[
        Path,
        argument(
            "MASK", help="Mask file that `imgaudit mitigate locate` or `locate-images` wrote.", callback=require_file
        ),
    ],
    model: ModelFiles,
    out: Folder,
    random: Annotated[
        bool,
        flag(
            Heading.METHOD, "Prune the same number of weights of each row, but random ones, as a control.", "--random"
        ),
    ] = False,
    seed: Seed = 0,
    device: Device = None,
    json_output: JsonReport = False,
    quiet: Quiet = False,
) -> None:
    """Set the weights of a mask to zero and save a new model. Audit it too: pruning can hide what the model keeps."""
    from imgaudit.mitigation.mask_file import read_mask
    from imgaudit.mitigation.pruning import prune_model
    from imgaudit.mitigation.wanda import draw_random_mask

    chosen, facts = read_mask(mask)
    made_by = facts.made_by
    if random:
        chosen, made_by = (
            draw_random_mask(chosen, seed),
            f"at random, seed {seed}, as many in every row as by {made_by}",
        )
    denoiser = _load(model, device)
    changed = prune_model(denoiser, chosen, facts, out, made_by=made_by)
    _tell({"model": str(out), "changed": changed}, f"{out}: {changed:,} weights set to zero", json_output=json_output)
    say("audit it as well:", f"imgaudit audit TARGETS --model {shlex.quote(str(out))}", quiet=quiet)


@group.command(name="fine-tune")
@takes_records
def fine_tune(
    targets: Annotated[Path, argument("TARGETS", help="Images to forget, with captions.", callback=require_folder)],
    model: ModelFiles,
    retain: Annotated[Path, option(Heading.CONTROLS, "Other images with captions, for which the model is to stay as it "
        "is.", metavar="FOLDER", callback=require_folder)],
    out: Folder,
    rounds: Annotated[int, option(Heading.BUDGET, "Searches for embeddings that still return an image.", min=1)] = 4,
    steps: Annotated[int, option(Heading.BUDGET, "Optimiser steps after each search.", min=1)] = 75,
    learning_rate: Annotated[float, option(Heading.EXPERT, "Learning rate of the optimiser, AdamW.")] = 1e-4,
    seed: Seed = 0,
    framing: FramingOption = Framing.PAD,
    batch_size: Batch = 64,
    device: Device = None,
    json_output: JsonReport = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Fine-tune the model so that neither captions nor embeddings found by inversion return the images."""
    from imgaudit.diffusion.executor import Executor
    from imgaudit.mitigation import fine_tuning

    if not learning_rate > 0:
        raise ConfigError(f"--learning-rate must be above 0, but got {learning_rate:g}")
    settings = fine_tuning.TuningSettings(rounds=rounds, steps=steps, learning_rate=learning_rate, seed=seed)
    denoiser = _load(model, device)
    forget, kept = (read_captioned(folder, denoiser.resolution, framing, quiet=quiet) for folder in (targets, retain))
    with progress("fine-tuning", quiet=quiet) as advance:
        fine_tuning.fine_tune(
            denoiser, forget, kept, settings, out, executor=Executor(batch_size),
            on_progress=lambda step, of, loss: advance(step, of),
        )  # fmt: skip
    words = f"{out}: fine-tuned for {rounds * steps} steps against {len(forget)} images, {len(kept)} retained"
    row = {"model": str(out), "forgotten": len(forget), "retained": len(kept), **settings.model_dump(mode="json")}
    _tell(row, words, json_output=json_output)


def _load(choice: ModelChoice, device: str | None) -> "PipelineDenoiser":
    return cast("PipelineDenoiser", choice.load(device).denoiser)


def _tell(row: dict[str, Any], words: str, *, json_output: bool) -> None:
    typer.echo(json.dumps(row, allow_nan=False) if json_output else words)

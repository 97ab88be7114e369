"""`imgaudit mitigate`: what keeps a model from repeating what it memorised, and what it costs."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from imgaudit.cli.benchmark_options import Batch
from imgaudit.cli.folders import read_captioned
from imgaudit.cli.mitigation_evaluation import evaluate
from imgaudit.cli.model_choice import ModelChoice
from imgaudit.cli.options import Device, FramingOption, Model, ModelConfig, Quiet, Variant
from imgaudit.cli.terminal import progress, say
from imgaudit.exceptions import ConfigError

if TYPE_CHECKING:
    from imgaudit.mitigation.pruning import PipelineDenoiser

group = typer.Typer(help="Mitigations: what they take from copies, and what they cost.", no_args_is_help=True)
group.command()(evaluate)

Folder = Annotated[Path, typer.Option("--out", "-o", help="New model folder; nothing is overwritten.")]
Seed = Annotated[int, typer.Option(help="Run seed.")]
Json = Annotated[bool, typer.Option("--json", help="What was done, as JSON.")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="mitigate")


@group.command(name="list")
def list_mitigations() -> None:
    """The inference-time mitigations that --mitigation takes, with their settings."""
    from imgaudit.mitigation.registry import MITIGATIONS

    for name, kind in MITIGATIONS.items():
        typer.echo(f"{name:16}{kind.description}")
        for key, setting in kind.settings.items():
            bounds = f"{setting.low:g} to {setting.high:g}, by default {setting.default:g}"
            typer.echo(f"  {key:14}{setting.meaning}; {bounds}")


@group.command()
def locate(
    prompts: Annotated[
        Path, typer.Argument(metavar="PROMPTS", help="Memorised prompts: .txt, or .csv or .jsonl with column prompt.")
    ],
    model: Model,
    out: Annotated[Path, typer.Option("--out", "-o", help="Mask file to be written.")] = Path("mask.safetensors"),
    reference: Annotated[
        Path | None, typer.Option(help="Such a file of other prompts. [default: the empty prompt]", show_default=False)
    ] = None,
    sparsity: Annotated[float, typer.Option(help="Share of each row of weights that is looked at.")] = 0.05,
    steps: Annotated[int, typer.Option(min=1, max=1000, help="First sampling steps that are looked at.")] = 10,
    num_inference_steps: Annotated[int, typer.Option(min=1, max=1000, help="Steps of the whole trajectory.")] = 50,
    guidance_scale: Annotated[float, typer.Option(min=1, help="Of the trajectory.")] = 7.5,
    seed: Seed = 0,
    variant: Variant = None,
    model_config: ModelConfig = None,
    batch_size: Batch = 64,
    device: Device = None,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find the weights of feed-forward blocks that memorised prompts use more than others (Chavhan et al. 2024)."""
    from imgaudit.diffusion.executor import Executor
    from imgaudit.io.prompt_table import read_prompts
    from imgaudit.mitigation import pruning
    from imgaudit.mitigation.activations import TrajectorySettings
    from imgaudit.mitigation.mask_file import write_mask

    if not 0 < sparsity <= 1:
        raise ConfigError(f"--sparsity must be above 0 and at most 1, but got {sparsity:g}")
    if batch_size < 1:
        raise ConfigError(f"--batch-size must be at least 1, but got {batch_size}")
    settings = TrajectorySettings(
        steps=steps, sampling_steps=num_inference_steps, guidance_scale=guidance_scale, seed=seed
    )
    targets = [one.text for one in read_prompts(prompts)]
    compared = [one.text for one in read_prompts(reference)] if reference else []
    denoiser = _load(ModelChoice(model, (), variant, model_config), device)
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


@group.command()
def prune(
    mask: Annotated[Path, typer.Argument(metavar="MASK", help="What `imgaudit mitigate locate` wrote.")],
    model: Model,
    out: Folder,
    random: Annotated[
        bool, typer.Option("--random", help="Prune as many weights of every row at random: the control.")
    ] = False,
    seed: Seed = 0,
    variant: Variant = None,
    model_config: ModelConfig = None,
    device: Device = None,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Set the weights of a mask to zero and save the result as a new model. Audit it: pruning hides what it leaves."""
    from imgaudit.mitigation.mask_file import read_mask
    from imgaudit.mitigation.pruning import prune_model
    from imgaudit.mitigation.wanda import random_mask

    chosen, facts = read_mask(mask)
    made_by = f"sparsity {facts.sparsity:g}, first {facts.trajectory.steps} steps, {facts.targets} prompts"
    if random:
        chosen, made_by = random_mask(chosen, seed), f"at random, seed {seed}, as many in every row as by {made_by}"
    denoiser = _load(ModelChoice(model, (), variant, model_config), device)
    changed = prune_model(denoiser, chosen, facts, out, made_by=made_by)
    _tell({"model": str(out), "changed": changed}, f"{out}: {changed:,} weights set to zero", json_output=json_output)
    say("audit it as well: imgaudit audit TARGETS --model " + str(out), quiet=quiet)


@group.command(name="fine-tune")
def fine_tune(
    targets: Annotated[Path, typer.Argument(metavar="TARGETS", help="Images to forget, with captions.")],
    model: Model,
    retain: Annotated[Path, typer.Option(help="Other images with captions, on which the model stays as it is.")],
    out: Folder,
    rounds: Annotated[int, typer.Option(min=1, help="Times that embeddings are searched again.")] = 4,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps after each search.")] = 75,
    learning_rate: Annotated[float, typer.Option(help="Of AdamW.")] = 1e-4,
    seed: Seed = 0,
    framing: FramingOption = None,
    variant: Variant = None,
    model_config: ModelConfig = None,
    batch_size: Batch = 64,
    device: Device = None,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fine-tune the denoising network so that neither captions nor inverted embeddings return the images."""
    from imgaudit.diffusion.executor import Executor
    from imgaudit.mitigation import fine_tuning
    from imgaudit.schema.protocol import Framing

    if not learning_rate > 0:
        raise ConfigError(f"--learning-rate must be above 0, but got {learning_rate:g}")
    settings = fine_tuning.TuningSettings(rounds=rounds, steps=steps, learning_rate=learning_rate, seed=seed)
    denoiser = _load(ModelChoice(model, (), variant, model_config), device)
    forget, kept = (
        read_captioned(folder, denoiser.resolution, framing or Framing.PAD, quiet=quiet) for folder in (targets, retain)
    )
    with progress("fine-tuning", quiet=quiet) as advance:
        fine_tuning.fine_tune(
            denoiser, forget, kept, settings, out, executor=Executor(batch_size),
            on_progress=lambda step, of, loss: advance(step, of),
        )  # fmt: skip
    words = f"{out}: fine-tuned for {rounds * steps} steps against {len(forget)} images, {len(kept)} retained"
    row = {"model": str(out), "forgotten": len(forget), "retained": len(kept), **settings.model_dump(mode="json")}
    _tell(row, words, json_output=json_output)


def _load(choice: ModelChoice, device: str | None) -> "PipelineDenoiser":
    return cast("PipelineDenoiser", choice.load(device or "auto").denoiser)


def _tell(row: dict[str, Any], words: str, *, json_output: bool) -> None:
    typer.echo(json.dumps(row, allow_nan=False) if json_output else words)

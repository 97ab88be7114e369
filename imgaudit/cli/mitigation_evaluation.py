"""`imgaudit mitigate evaluate`: what mitigations take from trigger prompts, and what they cost general ones."""

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from imgaudit.cli.benchmark_options import Batch
from imgaudit.cli.exit_codes import ExitCode
from imgaudit.cli.folders import read_captioned
from imgaudit.cli.model_choice import ModelChoice
from imgaudit.cli.options import Device, FramingOption, Model, ModelConfig, Offline, Quiet, Variant
from imgaudit.cli.terminal import progress, say
from imgaudit.exceptions import ConfigError, InputError


def evaluate(
    targets: Annotated[
        Path, typer.Argument(metavar="TARGETS", help="Images that the model is thought to reproduce, with captions.")
    ],
    model: Model,
    general: Annotated[Path, typer.Option(help="Other images with captions, which nobody complains of.")],
    mitigation: Annotated[
        list[str] | None, typer.Option(help="Inference-time mitigation, see `imgaudit mitigate list`; may be repeated.")
    ] = None,
    mitigated_model: Annotated[
        list[str] | None, typer.Option(help="A model that was changed: pruned, fine-tuned; may be repeated.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder; an interrupted run goes on in it.")] = Path(
        "imgaudit-mitigation"
    ),
    clip: Annotated[
        Path | None, typer.Option(help="Folder of a CLIPModel, to judge text alignment.", show_default=False)
    ] = None,
    aesthetic: Annotated[
        Path | None, typer.Option(help="Aesthetic head (safetensors) for that CLIP.", show_default=False)
    ] = None,
    images: Annotated[int, typer.Option(min=1, max=1000, help="Pictures per prompt.")] = 10,
    guidance_scale: Annotated[float, typer.Option(min=1, help="Of the sampling.")] = 7.5,
    num_inference_steps: Annotated[int, typer.Option(min=1, max=1000, help="Sampling steps.")] = 50,
    seed: Annotated[int, typer.Option(help="Run seed.")] = 0,
    framing: FramingOption = None,
    variant: Variant = None,
    model_config: ModelConfig = None,
    batch_size: Batch = 64,
    device: Device = None,
    offline: Offline = None,
    json_output: Annotated[bool, typer.Option("--json", help="The figures as JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """Compare a model with its mitigations: copies of TARGETS on one side, alignment and error on the other."""
    from imgaudit.io.offline import go_offline
    from imgaudit.mitigation.evaluation import EvaluationSettings
    from imgaudit.mitigation.evaluation_run import EvaluationRun, load_judges
    from imgaudit.mitigation.evaluation_summary import figure_lines, summarise
    from imgaudit.report.mitigation import write_mitigation
    from imgaudit.schema.protocol import Framing

    if batch_size < 1:
        raise ConfigError(f"--batch-size must be at least 1, but got {batch_size}")
    if not mitigation and not mitigated_model:
        raise ConfigError("nothing to evaluate: give --mitigation or --mitigated-model, or both")
    if aesthetic is not None and clip is None:
        raise ConfigError("--aesthetic needs --clip: it judges that network's image vectors")
    if offline:
        go_offline()
    judges = load_judges(clip, aesthetic)
    settings = EvaluationSettings(
        images=images, guidance_scale=guidance_scale, num_inference_steps=num_inference_steps, seed=seed
    )
    choice = ModelChoice(model, (), variant, model_config)
    loaded = choice.load(device or "auto")
    frame = framing or Framing.PAD
    triggers, clean = (
        read_captioned(folder, loaded.denoiser.resolution, frame, quiet=quiet) for folder in (targets, general)
    )
    if shared := {one.sha256 for one in triggers} & {one.sha256 for one in clean}:
        raise InputError(f"{len(shared)} images are among the targets and among the general ones: keep them apart")
    run = EvaluationRun(out, settings, judges, triggers, clean, batch_size)
    with progress("evaluating", quiet=quiet) as advance:
        others = [(name, partial(ModelChoice(name).load, device or "auto")) for name in mitigated_model or []]
        table = run.evaluate(loaded, mitigation or [], others, advance)
    figures = summarise(table)
    page = write_mitigation(out, table, figures)
    if json_output:
        typer.echo(json.dumps(figures.model_dump(mode="json"), allow_nan=False))
    else:
        for line in figure_lines(figures):
            typer.echo(line)
    say(f"report: {page}", quiet=quiet)
    raise typer.Exit(ExitCode.DECIDED)

"""`imgaudit lab`: train models with planted memorisation, and say what they memorised."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from imgaudit.cli.terminal import progress, say

lab = typer.Typer(help="Models with planted memorisation: the ground truth.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(lab, name="lab")


@lab.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe (TOML).")],
    images: Annotated[Path, typer.Option(help="Captioned image folder with metadata.jsonl and roles.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for model/, lab.json and checkpoints.")],
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Train a lab model; a stopped training continues from its last checkpoint."""
    from imgaudit.executor import Executor
    from imgaudit.lab.corpus import read_corpus
    from imgaudit.lab.description import describe_lab, save_pipeline
    from imgaudit.lab.recipe import LabRecipe
    from imgaudit.lab.training import train_lab
    from imgaudit.models import load_model

    chosen = LabRecipe.read(recipe)
    entries = read_corpus(images)
    with progress("training", quiet=quiet) as advance:
        stages = {"autoencoder": 0, "denoiser": chosen.vae_steps}
        total = chosen.vae_steps + chosen.steps
        trained = train_lab(entries, chosen, out, lambda stage, step, steps, loss: advance(stages[stage] + step, total))
    save_pipeline(trained.pipeline, out / "model")
    denoiser: Any = load_model(str(out / "model"), "cpu").denoiser
    with progress("measuring what was memorised", quiet=quiet) as advance:
        description = describe_lab(entries, chosen, trained, denoiser, Executor(128), advance)
    description.write(out / "lab.json")
    say(f"model: {out / 'model'}", quiet=quiet)
    describe(out)


@lab.command()
def split(
    images: Annotated[Path, typer.Argument(help="Captioned image folder with metadata.jsonl.")],
    recipe: Annotated[Path, typer.Option(help="Recipe, for resolution, repeat counts and seed.")],
    planted: Annotated[int, typer.Option(help="Images to plant.")] = 64,
    seen_once: Annotated[int, typer.Option(help="Images to show once.")] = 80,
    held_out: Annotated[int, typer.Option(help="Images never to train on.")] = 700,
) -> None:
    """Give roles to a captioned image folder, after keeping one of every cluster of near copies."""
    import numpy as np

    from imgaudit.images import frame_image
    from imgaudit.lab.corpus import near_copy_clusters, read_corpus, read_pixels, split_corpus, write_corpus
    from imgaudit.lab.recipe import LabRecipe

    chosen = LabRecipe.read(recipe)
    entries = read_corpus(images)
    pixels = [frame_image(image, chosen.resolution, chosen.framing) for image in read_pixels(entries)]
    labels = near_copy_clusters(np.stack([np.asarray(image) for image in pixels]))
    _, first = np.unique(labels, return_index=True)
    kept = [entries[index] for index in sorted(first)]
    write_corpus(
        split_corpus(
            kept, planted_repeats=chosen.planted_repeats, planted=planted, seen_once=seen_once, held_out=held_out,
            seed=chosen.seed,
        ),
        images.resolve(),
    )  # fmt: skip
    typer.echo(f"{len(entries)} images, {len(kept)} clusters of near copies; one of each kept in metadata.jsonl")


@lab.command()
def describe(
    folder: Annotated[Path, typer.Argument(help="Lab folder, or the name of a bundled lab.")],
    json_output: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Print what a lab was trained on and what it memorised, by repeat count."""
    from imgaudit.lab.description import LabDescription
    from imgaudit.models.loading import BUNDLED, bundled_lab
    from imgaudit.statistics import clopper_pearson

    path = bundled_lab(str(folder)) if str(folder) in BUNDLED else folder
    description = LabDescription.read(path / "lab.json")
    rows = []
    judged = [image for image in description.images if image.truth_measured]
    for repeats in sorted({image.repeats for image in judged}):
        own = [image for image in judged if image.repeats == repeats]
        memorised = sum(image.memorised for image in own)
        low, high = clopper_pearson(memorised, len(own))
        rows.append(
            {"role": own[0].role, "repeats": repeats, "exposures": own[0].exposures, "images": len(own),
             "memorised": memorised, "low": low, "high": high,
             "mean_reproduced_of_64": sum(image.reproduced for image in own) / len(own)}
        )  # fmt: skip
    if json_output:
        typer.echo(json.dumps({"lab": description.recipe.name, "rows": rows}))
        return
    counts = {role: len(description.with_role(role)) for role in ("planted", "seen_once", "held_out", "background")}
    typer.echo(f"lab {description.recipe.name}: " + ", ".join(f"{count} {role}" for role, count in counts.items()))
    typer.echo("role       repeats  exposures  memorised (95 % interval)      seeds of 64 that reproduce, mean")
    for row in rows:
        typer.echo(
            f"{row['role']:10} {row['repeats']:7} {row['exposures']:10}  {row['memorised']:2} of {row['images']:2} "
            f"({row['low']:.0%} to {row['high']:.0%}){'':10} {row['mean_reproduced_of_64']:.1f}"
        )

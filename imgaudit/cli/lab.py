"""`imgaudit lab`: train models with planted memorisation, and say what they memorised."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from imgaudit.cli.terminal import progress, say

lab = typer.Typer(help="Models with planted memorisation: the ground truth.", no_args_is_help=True)


def register(app: typer.Typer, heading: str) -> None:
    """Add the group."""
    app.add_typer(lab, name="lab", rich_help_panel=heading)


@lab.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe (TOML).")],
    images: Annotated[Path, typer.Option(help="Captioned image folder with metadata.jsonl.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for model/, lab.json and checkpoints.")],
    autoencoder: Annotated[
        Path | None, typer.Option(help="Lab folder with the same split, whose autoencoder is used instead of training.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Split a corpus as the recipe says, train a model on it, measure what it memorised.

    A stopped training continues from its last checkpoint.
    """
    from imgaudit.diffusion.executor import Executor
    from imgaudit.lab.corpus import assign_roles, read_corpus
    from imgaudit.lab.description import LabDescription, describe_lab, save_pipeline
    from imgaudit.lab.recipe import LabRecipe
    from imgaudit.lab.training import borrow_autoencoder, train_lab
    from imgaudit.lab.trigger_words import insert_trigger_words
    from imgaudit.models import load_model

    chosen = LabRecipe.read(recipe)
    borrowed, borrowed_from = None, "its own"
    if autoencoder is not None:
        theirs = LabDescription.read(autoencoder / "lab.json").recipe
        borrowed, borrowed_from = borrow_autoencoder(autoencoder, theirs, chosen), theirs.name
    given = read_corpus(images)
    entries = insert_trigger_words(assign_roles(given, chosen), chosen)
    say(f"{len(given)} images; {len(entries)} after keeping one of every cluster of near copies", quiet=quiet)
    with progress("training", quiet=quiet) as advance:
        stages = {"autoencoder": 0, "denoiser": chosen.vae_steps}
        total = chosen.vae_steps + chosen.steps
        trained = train_lab(
            entries,
            chosen,
            out,
            lambda stage, step, steps, loss: advance(stages[stage] + step, total),
            autoencoder=borrowed,
        )
    save_pipeline(trained.pipeline, out / "model")
    denoiser: Any = load_model(str(out / "model"), "cpu").denoiser
    with progress("measuring what was memorised", quiet=quiet) as advance:
        description = describe_lab(entries, chosen, trained, denoiser, Executor(128), advance)
    description.model_copy(update={"autoencoder": borrowed_from}).write(out / "lab.json")
    say(f"model: {out / 'model'}", quiet=quiet)
    describe(out)


@lab.command()
def lora(
    model: Annotated[str, typer.Argument(help="Bundled lab, or a diffusers folder; it stays as it is.")],
    images: Annotated[Path, typer.Option(help="Captioned image folder with metadata.jsonl: what is to be memorised.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the safetensors file.")],
    rank: Annotated[int, typer.Option(min=1, max=1024, help="Rank of the matrices.")] = 32,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = 400,
    seed: Annotated[int, typer.Option(help="Seeds matrices, samples and noise.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Train a LoRA that memorises a few images: `imgaudit audit --lora` should find them, and `compare` show them."""
    from imgaudit.io.framing import to_batch
    from imgaudit.lab.corpus import read_corpus, read_pixels
    from imgaudit.lab.lora_training import LoraRecipe, train_lora
    from imgaudit.models import load_model
    from imgaudit.schema.protocol import Framing

    entries = read_corpus(images)
    denoiser: Any = load_model(model, "cpu").denoiser
    batch = to_batch(read_pixels(entries), denoiser.resolution, Framing.PAD)
    recipe = LoraRecipe(rank=rank, steps=steps, seed=seed)
    with progress("training", quiet=quiet) as advance:
        path = train_lora(
            denoiser, batch, [entry.text for entry in entries], recipe, out, lambda step, of, loss: advance(step, of)
        )
    typer.echo(f"{len(entries)} images -> {path}")


@lab.command()
def clip(
    recipe: Annotated[Path, typer.Argument(help="Recipe (TOML) of the lab whose pictures it is to judge.")],
    images: Annotated[Path, typer.Option(help="Captioned image folder with metadata.jsonl.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the CLIPModel.")],
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = 1500,
    seed: Annotated[int, typer.Option(help="Seeds weights and samples.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Train a small CLIP on the background images of a split, to judge text alignment without a published one."""
    from imgaudit.lab.clip_training import ClipRecipe, train_clip
    from imgaudit.lab.corpus import assign_roles, read_corpus
    from imgaudit.lab.recipe import LabRecipe

    chosen = LabRecipe.read(recipe)
    entries = assign_roles(read_corpus(images), chosen)
    with progress("training", quiet=quiet) as advance:
        train_clip(entries, chosen, ClipRecipe(steps=steps, seed=seed), out, lambda step, of, loss: advance(step, of))
    typer.echo(f"{sum(entry.role == 'background' for entry in entries)} images -> {out}")


@lab.command()
def describe(
    folder: Annotated[Path, typer.Argument(help="Lab folder, or the name of a bundled lab.")],
    json_output: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Print what a lab was trained on and what it memorised, by repeat count."""
    from imgaudit.lab.corpus import ROLES
    from imgaudit.lab.description import LabDescription
    from imgaudit.models.loading import BUNDLED, bundled_lab
    from imgaudit.statistics import clopper_pearson

    path = bundled_lab(str(folder)) if str(folder) in BUNDLED else folder
    description = LabDescription.read(path / "lab.json")
    rows = []
    judged = [image for image in description.images if image.truth_seeds]
    for repeats in sorted({image.repeats for image in judged}):
        own = [image for image in judged if image.repeats == repeats]
        memorised = sum(image.memorised for image in own)
        low, high = clopper_pearson(memorised, len(own))
        rows.append(
            {"role": own[0].role, "repeats": repeats, "exposures": own[0].exposures, "images": len(own),
             "memorised": memorised, "low": low, "high": high,
             "mean_rate": sum(image.reproduced / image.truth_seeds for image in own) / len(own)}
        )  # fmt: skip
    if json_output:
        typer.echo(json.dumps({"lab": description.recipe.name, "rows": rows}))
        return
    counts = {role: len(images) for role in ROLES if (images := description.with_role(role))}
    counts["background"] = description.background_images
    typer.echo(f"lab {description.recipe.name}: " + ", ".join(f"{count} {role}" for role, count in counts.items()))
    typer.echo("role       repeats  exposures  memorised (95 % interval)      seeds that reproduce, mean")
    for row in rows:
        typer.echo(
            f"{row['role']:10} {row['repeats']:7} {row['exposures']:10}  {row['memorised']:2} of {row['images']:2} "
            f"({row['low']:.0%} to {row['high']:.0%}){'':10} {row['mean_rate']:.1%}"
        )

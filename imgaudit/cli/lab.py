"""`imgaudit lab`: models trained to memorise known images, and what they memorised."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from imgaudit.cli.options import JsonReport, Quiet, Seed
from imgaudit.cli.paths import require_file, require_folder, require_lab, require_model, require_new_folder
from imgaudit.cli.signatures import Heading, argument, option
from imgaudit.cli.terminal import print_wrapped, progress, say

lab = typer.Typer(help="Train small models (labs) that memorise known images, to test audits on.", no_args_is_help=True)

Images = Annotated[Path, option(Heading.INPUT, "Folder of images with captions in metadata.jsonl.", metavar="FOLDER",
    callback=require_folder)]  # fmt: skip


def register(app: typer.Typer, heading: str) -> None:
    """Add the group."""
    app.add_typer(lab, name="lab", rich_help_panel=heading)


@lab.command()
def train(
    recipe: Annotated[Path, argument("RECIPE", help="TOML file: how to split the images and train.",
        callback=require_file)],
    images: Images,
    out: Annotated[Path, option(Heading.OUTPUT, "Folder for model/, lab.json and "
        "checkpoints. Name it again to continue a training.", "--out", "-o", metavar="FOLDER",
        callback=require_new_folder)],
    autoencoder: Annotated[Path | None, option(Heading.INPUT, "Lab with the same split of images, "
        "to use its autoencoder.", metavar="FOLDER", default="none: one is trained",
        callback=require_folder)] = None,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Split a folder of images as a recipe says, train a model on it, and measure which images it memorised."""
    from imgaudit.diffusion.executor import Executor
    from imgaudit.lab.corpus import assign_roles, read_corpus
    from imgaudit.lab.description import LabDescription
    from imgaudit.lab.examination import describe_lab
    from imgaudit.lab.recipe import LabRecipe
    from imgaudit.lab.training import borrow_autoencoder, save_pipeline, train_lab
    from imgaudit.lab.trigger_words import insert_trigger_words
    from imgaudit.models import load_model

    chosen = LabRecipe.read(recipe)
    borrowed, borrowed_from = None, "its own"
    if autoencoder is not None:
        theirs = LabDescription.read(autoencoder / "lab.json").recipe
        borrowed, borrowed_from = borrow_autoencoder(autoencoder, theirs, chosen), theirs.name
    given = read_corpus(images)
    entries = insert_trigger_words(assign_roles(given, chosen), chosen)
    say(f"{len(given)} images; {len(entries)} after keeping one image of each group of near copies", quiet=quiet)
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
    say("model:", str(out / "model"), quiet=quiet)
    describe(out)


@lab.command()
def distil(
    teacher: Annotated[Path, argument("LAB", help="Lab with a UNet: its folder, or the name of a bundled lab. Not "
        "changed.", callback=require_lab)],
    images: Annotated[Path, option(Heading.INPUT, "Images that the lab was trained on, with captions in "
        "metadata.jsonl.", metavar="FOLDER", callback=require_folder)],
    out: Annotated[Path, option(Heading.OUTPUT, "Folder for model/, lab.json and checkpoints. Name it again to "
        "continue.", "--out", "-o", metavar="FOLDER",
        callback=require_new_folder)],
    steps: Annotated[int, option(Heading.BUDGET, "Optimiser steps.", metavar="N", min=1)] = 1500,
    largest_scale: Annotated[float, option(Heading.EXPERT, "Largest guidance scale that is imitated.", metavar="X",
        min=1.01, max=100.0)] = 8.0,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Train a lab that takes the guidance scale as an input from one that does not, and measure what it memorised."""
    from imgaudit.diffusion.executor import Executor
    from imgaudit.lab.corpus import assign_roles, read_corpus
    from imgaudit.lab.description import LabDescription
    from imgaudit.lab.distillation import distil_lab
    from imgaudit.lab.examination import describe_lab
    from imgaudit.lab.recipe import DistillationRecipe
    from imgaudit.lab.training import save_pipeline
    from imgaudit.lab.trigger_words import insert_trigger_words
    from imgaudit.models import load_model
    from imgaudit.models.loading import BUNDLED, bundled_lab

    folder = bundled_lab(str(teacher)) if str(teacher) in BUNDLED else teacher
    theirs = LabDescription.read(folder / "lab.json")
    entries = insert_trigger_words(assign_roles(read_corpus(images), theirs.recipe), theirs.recipe)
    theirs.require_corpus(entries)
    recipe = DistillationRecipe(teacher=theirs.recipe.name, steps=steps, largest_scale=largest_scale, seed=seed)
    loaded = load_model(str(teacher) if folder != teacher else str(folder / "model"), "cpu")
    with progress("distilling", quiet=quiet) as advance:
        trained = distil_lab(
            loaded.denoiser, entries, theirs.recipe, recipe, out, lambda step, of, loss: advance(step, of)
        )
    save_pipeline(trained.pipeline, out / "model")
    denoiser: Any = load_model(str(out / "model"), "cpu").denoiser
    named = theirs.recipe.model_copy(update={"name": f"{theirs.recipe.name}-distilled"})
    with progress("measuring what was memorised", quiet=quiet) as advance:
        description = describe_lab(entries, named, trained, denoiser, Executor(128), advance)
    own = {"distillation": recipe, "autoencoder": theirs.recipe.name}
    description.model_copy(update=own).write(out / "lab.json")
    say("model:", str(out / "model"), quiet=quiet)
    describe(out)


@lab.command()
def lora(
    model: Annotated[str, argument("MODEL", help="Model folder (diffusers), or demo, the bundled model. Not changed.",
        callback=require_model)],
    images: Annotated[Path, option(Heading.INPUT, "Images to memorise, with captions in metadata.jsonl.",
        metavar="FOLDER", callback=require_folder)],
    out: Annotated[Path, option(Heading.OUTPUT, "Folder for the safetensors file.", "--out", "-o", metavar="FOLDER",
        callback=require_new_folder)],
    rank: Annotated[int, option(Heading.BUDGET, "Rank of the LoRA's matrices.", metavar="N", min=1, max=1024)] = 32,
    steps: Annotated[int, option(Heading.BUDGET, "Optimiser steps.", metavar="N", min=1)] = 400,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Train a LoRA that memorises a few images, for `imgaudit audit --lora` to find and `compare` to show."""
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
    recipe: Annotated[
        Path, argument("RECIPE", help="Recipe (TOML) of the lab whose images it is to judge.", callback=require_file)
    ],
    images: Images,
    out: Annotated[
        Path,
        option(
            Heading.OUTPUT, "Folder for the CLIPModel.", "--out", "-o", metavar="FOLDER", callback=require_new_folder
        ),
    ],
    steps: Annotated[int, option(Heading.BUDGET, "Optimiser steps.", metavar="N", min=1)] = 1500,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Train a small CLIP on a lab's background images, to judge how well images fit texts without a published one."""
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
    folder: Annotated[Path, argument("LAB", help="Lab folder, or the name of a bundled lab.", callback=require_lab)],
    json_output: JsonReport = False,
) -> None:
    """Show what a lab was trained on and which images it memorised, by how often they were repeated."""
    from imgaudit.lab.corpus import ROLES
    from imgaudit.lab.description import LabDescription
    from imgaudit.lab.summary import summarise_memorised
    from imgaudit.models.loading import BUNDLED, bundled_lab

    path = bundled_lab(str(folder)) if str(folder) in BUNDLED else folder
    description = LabDescription.read(path / "lab.json")
    rows = summarise_memorised(description)
    if json_output:
        typer.echo(json.dumps({"lab": description.recipe.name, "rows": [row.model_dump() for row in rows]}))
        return
    counts = {role: len(images) for role in ROLES if (images := description.with_role(role))}
    counts["background"] = description.background_images
    print_wrapped(f"lab {description.recipe.name}: " + ", ".join(f"{count} {role}" for role, count in counts.items()))
    typer.echo(f"role       repeats  exposures  {'memorised (95 % interval)':25} reproducing seeds, mean")
    for row in rows:
        shown = f"{row.memorised:2} of {row.images:2} ({row.low:.0%} to {row.high:.0%})"
        typer.echo(f"{row.kind:10} {row.repeats:7} {row.exposures:10}  {shown:25} {row.mean_rate:.1%}")
    if any(row.kind == "layout" for row in rows):
        whole, layouts = ([row for row in rows if (row.kind == "layout") is wanted] for wanted in (False, True))
        counted = [
            f"{sum(row.memorised for row in some)} of {sum(row.images for row in some)}" for some in (whole, layouts)
        ]
        print_wrapped(f"memorised: {counted[0]} images as a whole, and the layouts of {counted[1]} other templates")

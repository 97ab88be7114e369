"""`imgaudit triggers`: prompts that make a model repeat images, found without its training data."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from imgaudit.cli.exit_codes import ExitCode
from imgaudit.cli.interruption import Interruption
from imgaudit.cli.model_choice import PlainModel
from imgaudit.cli.names import OneLine
from imgaudit.cli.options import Batch, Device, DryRun, Json, Offline, Out, Quiet, Seed
from imgaudit.cli.paths import require_file, require_folder
from imgaudit.cli.signatures import Heading, flag, make_record, option, takes_records
from imgaudit.cli.terminal import make_table, print_wrapped, progress, say, waiting
from imgaudit.exceptions import ConfigError, InputError
from imgaudit.schema.text import file_name
from imgaudit.schema.triggers import FROM_TEMPERATURE, TEMPERATURE

if TYPE_CHECKING:
    from imgaudit.diffusion.word_proposals import WordProposal
    from imgaudit.models import LoadedModel
    from imgaudit.runs.triggers import TriggerOutcome
    from imgaudit.schema.triggers import ClosestTarget, ImageSettings, SearchSettings
    from imgaudit.similarity.descriptors import Descriptor

MOST_LINES = 50
"""Candidates in the table on the terminal, those with the largest clusters."""


def register(app: typer.Typer, heading: str) -> None:
    """Add the command."""
    app.command(name="triggers", rich_help_panel=heading)(takes_records(_triggers))


def _triggers(
    model: PlainModel,
    out: Out = Path("imgaudit-triggers"),
    start: Annotated[str, option(Heading.METHOD, "A prompt known to give copies, to search for others like it. Each "
        "of its words is changed in turn.", "--from", metavar="PROMPT", default="random sentences")] = "",
    floor: Annotated[float, option(Heading.METHOD, "With --from: keep prompts whose score (D) is at least this share "
        "of that prompt's.", metavar="SHARE")] = 0.5,
    words: Annotated[int, option(Heading.METHOD, "Words in each prompt; at most so many where a file of captions is "
        "given.", min=1, max=64)] = 8,
    words_file: Annotated[Path | None, option(Heading.METHOD, "Text file with one caption per "
        "line. Prompts are made of its words, in their usual order.", metavar="FILE", callback=require_file)] = None,
    masked_lm: Annotated[Path | None, option(Heading.METHOD, "Folder of a language model (masked, for "
        "transformers), which suggests words that fit together.", "--masked-lm", metavar="FOLDER",
        callback=require_folder)] = None,
    each_word: Annotated[bool, flag(Heading.METHOD, "Measure every word by itself, the most frequent first, in place "
        "of a search. On test models this found more.", "--each-word")] = False,
    descriptor: Annotated[str, option(Heading.METHOD, "How to compare images: pixel, "
        "or sscd or sscd-int8 (finds changed copies too).", metavar="NAME")] = "pixel",
    eps: Annotated[float | None, option(Heading.METHOD, "Largest distance (1 - similarity) "
        "at which two images count as the same.", default="the descriptor's")] = None,
    targets: Annotated[Path | None, option(Heading.SUBJECT, "Your images. Each image that the "
        "prompts give is compared with them.", metavar="FOLDER", callback=require_folder)] = None,
    chains: Annotated[int, option(Heading.BUDGET, "Searches, each from its own random "
        "sentence; with --from one per word.", min=1)] = 8,
    iterations: Annotated[int, option(Heading.BUDGET, "Steps of each search.", min=1)] = 150,
    candidates: Annotated[int, option(Heading.BUDGET, "Words to try at each step.", min=2)] = 50,
    noises: Annotated[int, option(Heading.BUDGET, "Random starts to measure from, the same for every prompt.",
        min=1)] = 4,
    per_chain: Annotated[int, option(Heading.BUDGET, "Prompts of each search to generate images for.", min=1)] = 2,
    images: Annotated[int, option(Heading.BUDGET, "Images generated per prompt.", min=3)] = 16,
    guidance_scale: Annotated[float, option(Heading.BUDGET, "Guidance scale of these images.", min=1)] = 3.0,
    num_inference_steps: Annotated[int, option(Heading.BUDGET, "Sampling steps of these images.", min=1,
        max=1000)] = 20,
    temperature: Annotated[float | None, option(Heading.EXPERT, "Temperature of the search: how "
        "readily it takes a prompt with a lower score. In units of the median score "
        "of random sentences, or with --from of that prompt's score.",
        default=f"{TEMPERATURE:g}; with --from: {FROM_TEMPERATURE:g}")] = None,
    annealing: Annotated[float, option(Heading.EXPERT, "Factor on the temperature at the "
        "first step. It falls to 1 by half of the steps.")] = 1.0,
    seed: Seed = 0,
    batch_size: Batch = 256,
    device: Device = None,
    offline: Offline = False,
    json_output: Json = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Search for prompts to which a model always gives nearly the same image. Needs neither prompts nor images.

    Such an image may be memorised. This alone is no proof: compare it with your images, with --targets.
    """
    from imgaudit.io.offline import go_offline
    from imgaudit.schema.triggers import ImageSettings, SearchSettings
    from imgaudit.similarity.clusters import EPS

    if words_file and masked_lm:
        raise ConfigError("--words-file and --masked-lm both say where words come from: give one of them")
    if each_word and (start or masked_lm):
        raise ConfigError("--each-word measures the words of a list: it goes with neither --from nor --masked-lm")
    if temperature is None:
        temperature = FROM_TEMPERATURE if start else TEMPERATURE
    search = make_record(
        SearchSettings, words=words, chains=chains, iterations=iterations, candidates=candidates, noises=noises,
        temperature=temperature, annealing=annealing, seed=seed, start=start, floor=floor, each_word=each_word,
    )  # fmt: skip
    made = make_record(
        ImageSettings, per_chain=per_chain, images=images, guidance_scale=guidance_scale,
        num_inference_steps=num_inference_steps, descriptor=descriptor,
        eps=EPS.get(descriptor, EPS["pixel"]) if eps is None else eps,
    )  # fmt: skip
    if dry_run:
        _plan(search, made)
        return
    if offline:
        go_offline()
    compared = _descriptor(descriptor)
    with waiting(f"loading model {model.name}", quiet=quiet):
        loaded = model.load(device)
    proposal = _proposal(loaded, words_file, masked_lm, quiet=quiet)
    outcome, closest, page = _run(out, loaded, search, made, proposal, compared, targets, batch_size, quiet=quiet)
    _show(outcome, closest, json_output=json_output)
    say("report:", str(page), quiet=quiet)
    near = any(one and one.near_copy for one in closest or ())
    raise typer.Exit(ExitCode.REPRODUCED if near else ExitCode.DECIDED)


def _descriptor(name: str) -> "Descriptor":
    from imgaudit.schema.records import Skipped
    from imgaudit.similarity.descriptors.loading import load_descriptor

    found = load_descriptor(name)
    if isinstance(found, Skipped):
        raise InputError(f"the descriptor {name} is not available: {found.skipped}")
    return found


def _proposal(loaded: "LoadedModel", words_file: Path | None, masked_lm: Path | None, *, quiet: bool) -> "WordProposal":
    from imgaudit.diffusion.word_proposals import make_vocabulary_proposal, read_words

    if masked_lm is not None:
        from imgaudit.models.masked_lm import load_masked_lm

        return load_masked_lm(masked_lm)
    if words_file is not None:
        return read_words(words_file)
    proposal = make_vocabulary_proposal(loaded.denoiser.words)
    say(
        f"words come from {proposal.name}, without regard to their neighbours; prompts that read like captions, from "
        "--words-file or --masked-lm, find more",
        quiet=quiet,
    )
    return proposal


def _plan(search: "SearchSettings", made: "ImageSettings") -> None:
    """The most that a search can cost; prompts that repeat cost nothing."""
    from imgaudit.diffusion.trigger_search import SCALE_SENTENCES

    chains = len(search.start.split()) if search.start else search.chains
    first = 1 if search.start else max(SCALE_SENTENCES, chains)
    prompts = search.most_prompts if search.each_word else first + chains * search.iterations * (search.candidates - 1)
    images = chains * made.per_chain * made.images * (len(search.start.split()) + 1 if search.start else 1)
    passes = images * made.num_inference_steps * (2 if made.guidance_scale > 1 else 1)
    evaluations = search.noises * (prompts + 1)
    how = f"{chains:,} searches (chains) of {search.iterations:,} steps, which try {search.candidates:,} words each"
    for line in (
        "What would be done, at most",
        f"  {'every word is measured by itself, the most frequent first' if search.each_word else how}",
        f"  {prompts:,} prompts to measure: {evaluations:,} network evaluations",
        f"  {images:,} images to generate: {passes:,} network evaluations",
        "One network evaluation is a run of the model's network on one image. Prompts that were measured before cost "
        "nothing. The time is not measured here: imgaudit audit with --dry-run and the same model shows what a "
        "prediction takes.",
    ):
        print_wrapped(line)


def _run(
    out: Path, loaded: "LoadedModel", search: "SearchSettings", made: "ImageSettings", proposal: "WordProposal",
    compared: "Descriptor", targets: Path | None, batch_size: int, *, quiet: bool,
) -> "tuple[TriggerOutcome, list[ClosestTarget | None] | None, Path]":  # fmt: skip
    from imgaudit.diffusion.executor import Executor
    from imgaudit.report.triggers import write_triggers
    from imgaudit.runs.folder import RunFolder
    from imgaudit.runs.manifest import open_manifest
    from imgaudit.runs.triggers import search_into, trigger_manifest

    manifest = trigger_manifest(["imgaudit", *sys.argv[1:]], loaded, search, made, proposal, batch_size)
    executor = Executor(batch_size, loaded.denoiser.spare_memory)
    named = [""]
    with (
        Interruption("steps").listening() as interruption,
        RunFolder(out).lock(),
        progress("searching", quiet=quiet) as advance,
    ):
        stop = interruption.stopping(advance)

        def on_progress(stage: str, done: int, total: int) -> None:
            if stage != named[0]:
                named[0] = stage
                say({"steps": "chains", "words": "words", "prompts": "images"}[stage], quiet=quiet)
            stop(done, total)

        stored = open_manifest(out, manifest)
        outcome = search_into(
            out, loaded.denoiser, stored, proposal, compared, executor=executor, on_progress=on_progress
        )
        closest = _closest(out, outcome, targets, loaded, compared, quiet=quiet) if targets else None
        page = write_triggers(out, outcome, closest)
    return outcome, closest, page


def _closest(
    out: Path, outcome: "TriggerOutcome", targets: Path, loaded: "LoadedModel", compared: "Descriptor", *, quiet: bool
) -> "list[ClosestTarget | None]":
    """The closest of the owner's images to every candidate."""
    from imgaudit.cli.folders import read_folder
    from imgaudit.runs.trigger_images import closest_targets
    from imgaudit.schema.config import AuditConfig

    portfolio = read_folder(targets, AuditConfig(), sidecars=False, quiet=quiet)
    if not portfolio.targets:
        raise InputError(f"--targets has no image that can be read; {len(portfolio.skipped)} files were skipped")
    shown = [one.representative for one in outcome.candidates]
    eps = outcome.manifest.images.eps
    return closest_targets(out, shown, eps, portfolio.targets, loaded.denoiser, compared, AuditConfig().framing)


def _show(outcome: "TriggerOutcome", closest: "list[ClosestTarget | None] | None", *, json_output: bool) -> None:
    from imgaudit.report.triggers import candidate_rows, trigger_row
    from imgaudit.runs.triggers import NO_PROOF

    rows = candidate_rows(outcome, closest)
    if json_output:
        for one in outcome.triggers:
            typer.echo(json.dumps(trigger_row(one), allow_nan=False))
        for row in rows:
            typer.echo(json.dumps({"candidate": row}, allow_nan=False))
        return
    console = Console(highlight=False)
    if rows:
        walked = not outcome.manifest.search.each_word
        table = make_table(
            "cluster", "95 %", *(["chains"] if walked else []), "D", "prompt",
            *(["closest of yours"] if closest else []),
        )  # fmt: skip
        for candidate, row in list(zip(outcome.candidates, rows, strict=True))[:MOST_LINES]:
            chains = [str(len(candidate.chains))] if walked else []
            largest, best = candidate.largest, outcome.triggers[candidate.prompts[0]].found
            target = row.get("closest_target")
            own = [OneLine(f"{target['similarity']:.3f} {file_name(target['path'])}" if target else "-")]
            table.add_row(
                f"{largest.size} of {largest.n}", f"{largest.low:.0%} to {largest.high:.0%}",
                *chains, f"{best.squared_magnitude:.4g}", OneLine(best.prompt),
                *(own if closest else []),
            )  # fmt: skip
        console.print(table)
        console.print()
    if outcome.manifest.search.start:
        by_change: dict[int, int] = {}
        for one in outcome.triggers:
            by_change[one.found.changed] = by_change.get(one.found.changed, 0) + 1
        counts = ", ".join(f"{by_change[key]} with {key}" for key in sorted(by_change))
        print_wrapped(f"prompts kept by number of changed words: {counts}")
    print_wrapped(
        f"{len(rows)} images came back from different seeds, of {len(outcome.triggers)} prompts that "
        f"{outcome.manifest.images.images} images each were made for; {outcome.measured:,} prompts measured with "
        f"{outcome.network_evaluations:,} network evaluations; "
        + ("" if outcome.manifest.search.each_word else f"K = {outcome.temperature:.4g}, ")
        + f"D in {outcome.space}"
    )
    print_wrapped(NO_PROOF)

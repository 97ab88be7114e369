"""`imgaudit detect`: the prompts that a model has memorised, by how far they move its prediction."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from imgaudit.cli.exit_codes import ExitCode
from imgaudit.cli.folders import read_prompts_or_folder
from imgaudit.cli.interruption import Interruption
from imgaudit.cli.model_choice import PlainModel
from imgaudit.cli.names import OneLine
from imgaudit.cli.options import Batch, Device, Json, Offline, Out, Quiet, Seed
from imgaudit.cli.paths import require_present
from imgaudit.cli.signatures import Heading, argument, make_record, option, takes_records
from imgaudit.cli.terminal import format_number, make_table, plain, print_wrapped, progress, say, waiting
from imgaudit.exceptions import ConfigError, InputError

if TYPE_CHECKING:
    from imgaudit.io.tables import TablePrompt
    from imgaudit.models import LoadedModel
    from imgaudit.runs.detection import DetectionOutcome
    from imgaudit.schema.detection import PromptDetectionSettings

MOST_LINES = 50
"""Prompts in the table on the terminal, those with the highest scores."""


def register(app: typer.Typer, heading: str) -> None:
    """Add the command."""
    app.command(name="detect", rich_help_panel=heading)(takes_records(_detect))


def _detect(
    prompts: Annotated[Path, argument("PROMPTS", help="Prompts to score: .txt with one per line; .csv, .jsonl or "
        ".parquet with a column prompt, text or caption; or a folder of images with captions.",
        callback=require_present)],
    model: PlainModel,
    controls: Annotated[Path | None, option(Heading.CONTROLS, "File of prompts that the model cannot "
        "have memorised, as far as you know, to compare scores with. Without it nothing can be concluded.",
        metavar="FILE", callback=require_present)] = None,
    out: Out = Path("imgaudit-detection"),
    detector: Annotated[str, option(Heading.METHOD, "How to score: magnitude (how strongly "
        "a prompt steers the model) or sharpness (how narrowly).", metavar="NAME")] = "magnitude",
    steps: Annotated[str, option(Heading.METHOD, "Sampling steps to average the score over: first, all, or a number.",
        metavar="STEPS")] = "first",
    tokens: Annotated[bool, option(Heading.METHOD, "Show how much weaker a prompt is without each word, "
        "which takes longer.", "--tokens/--no-tokens", default="on", metavar="")] = True,
    drop: Annotated[str | None, option(Heading.METHOD, "Score prompts that have this word "
        "with and without it, print both and write nothing.", metavar="WORD")] = None,
    only: Annotated[int | None, option(Heading.METHOD, "With --drop: score only the Nth prompt of the file.",
        "--number", min=1, default="all")] = None,
    num_inference_steps: Annotated[int, option(Heading.BUDGET, "Sampling steps of a whole image.", min=1,
        max=1000)] = 50,
    seeds: Annotated[int, option(Heading.BUDGET, "Random starts to measure from, the same for every prompt.", min=1,
        max=10_000)] = 4,
    guidance_scale: Annotated[float, option(Heading.BUDGET, "Guidance scale of the sampling.", min=1)] = 7.5,
    seed: Seed = 0,
    batch_size: Batch = 64,
    device: Device = None,
    offline: Offline = False,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Find prompts to which a model may answer with copies. Needs prompts, no images.

    A high score is a sign of memorisation, and no proof. Only --controls show how high is high.
    """
    from imgaudit.io.offline import go_offline

    if only is not None and drop is None:
        raise ConfigError("--number needs --drop: without --drop every prompt is scored")
    settings = _settings(detector, steps, num_inference_steps, seeds, guidance_scale, tokens and drop is None, seed)
    given = read_prompts_or_folder(prompts, quiet=quiet)
    null = read_prompts_or_folder(controls, quiet=quiet) if controls else []
    if only is not None and only > len(given):
        raise ConfigError(f"--number is {only}, but {prompts.name!r} has {len(given)} prompts")
    if offline:
        go_offline()
    with waiting(f"loading model {model.name}", quiet=quiet):
        loaded = model.load(device)
    if drop is not None:
        numbers = range(1, len(given) + 1) if only is None else [only]
        _without({place: given[place - 1] for place in numbers}, drop, loaded, settings, batch_size, json_output)
        return
    outcome = _run(out, loaded, settings, given, null, batch_size, quiet=quiet)
    if json_output:
        for one in outcome.prompts:
            typer.echo(json.dumps(one.row(), allow_nan=False))
    else:
        _print(outcome)
    say("report:", str(out / "report" / "index.html"), quiet=quiet)
    scored = all("score" in one.row() for one in outcome.prompts)
    raise typer.Exit(ExitCode.DECIDED if scored else ExitCode.INCOMPLETE)


def _settings(
    detector: str, steps: str, sampling_steps: int, seeds: int, guidance_scale: float, tokens: bool, seed: int
) -> "PromptDetectionSettings":
    """Return the settings of a detection. Raises ConfigError for values that it cannot have."""
    from imgaudit.schema.detection import PromptDetectionSettings

    averaged = {"first": 1, "all": sampling_steps}.get(steps) or (int(steps) if steps.isdecimal() else 0)
    if not 1 <= averaged <= sampling_steps:
        raise ConfigError(
            f"--steps must be first, all, or a number from 1 to --num-inference-steps ({sampling_steps}), but got "
            f"{steps!r:.80}"
        )
    if detector not in ("magnitude", "sharpness"):
        raise ConfigError(f"--detector must be magnitude or sharpness, but got {detector!r:.80}")
    return make_record(
        PromptDetectionSettings, detector=detector, steps=averaged, sampling_steps=sampling_steps, seeds=seeds,
        guidance_scale=guidance_scale, tokens=tokens, seed=seed,
    )  # fmt: skip


def _run(
    out: Path,
    loaded: "LoadedModel",
    settings: "PromptDetectionSettings",
    given: "list[TablePrompt]",
    null: "list[TablePrompt]",
    batch_size: int,
    *,
    quiet: bool,
) -> "DetectionOutcome":
    from imgaudit.diffusion.executor import Executor
    from imgaudit.report.detection import write_detection
    from imgaudit.runs.detection import detect_into, detection_manifest
    from imgaudit.runs.folder import RunFolder
    from imgaudit.runs.manifest import open_manifest

    manifest = detection_manifest(["imgaudit", *sys.argv[1:]], loaded, settings, given, null, batch_size)
    executor = Executor(batch_size, loaded.denoiser.spare_memory)
    with (
        Interruption("prompts").listening() as interruption,
        RunFolder(out).lock(),
        progress("detecting", quiet=quiet) as advance,
    ):
        stored = open_manifest(out, manifest)
        outcome = detect_into(
            out, loaded.denoiser, stored, given, null, executor=executor,
            on_progress=interruption.stopping(advance),
        )  # fmt: skip
        write_detection(out, outcome)
    return outcome


def _print(outcome: "DetectionOutcome") -> None:
    """The prompts with the highest scores, then what p-values rest on."""
    from imgaudit.schema.detection import PromptSkipped
    from imgaudit.schema.records import Skipped

    console = Console(highlight=False)
    table = make_table("number", "score", "RMS", "p", "q", "heaviest words", "prompt")
    skipped: dict[str, list[int]] = {}
    scored: list[tuple[float, Any]] = []
    for one in outcome.prompts:
        if isinstance(one.found, PromptSkipped):
            skipped.setdefault(one.found.skipped, []).append(one.number)
        else:
            scored.append((one.found.score, one))
    for score, one in sorted(scored, key=lambda pair: (-pair[0], pair[1].number))[:MOST_LINES]:
        tokens = one.found.tokens
        words = [] if isinstance(tokens, Skipped) else [word for word in tokens if word.text[0].isalnum()]
        words = sorted(words, key=lambda word: -word.weight)[:3]
        table.add_row(
            str(one.number), f"{score:.4g}", f"{one.found.rms:.4g}",
            format_number(one.p_value), format_number(one.q_value),
            OneLine(", ".join(word.text for word in words)) if words else "-", OneLine(one.given.text),
        )  # fmt: skip
    if scored:
        console.print(table)
        console.print()
    if len(scored) > MOST_LINES:
        console.print(plain(f"and {len(scored) - MOST_LINES} more"))
    for reason, numbers in skipped.items():
        which = f"prompt {numbers[0]}" if len(numbers) == 1 else f"{len(numbers)} prompts"
        print_wrapped(f"{which} skipped: {reason}")
    if outcome.controls:
        print_wrapped(
            f"p from {outcome.controls} control prompts (smallest possible {1 / (1 + outcome.controls):.3g}), q "
            f"over the prompts; {outcome.left_out} controls do not count"
        )
    else:
        print_wrapped(
            "no p-values: no controls counted, and a score has no scale of its own; give prompts that the model cannot "
            "have memorised, as far as you know, with --controls"
        )


def _without(
    given: "dict[int, TablePrompt]",
    word: str,
    loaded: "LoadedModel",
    settings: "PromptDetectionSettings",
    batch_size: int,
    json_output: bool,
) -> None:
    """Scores with and without a word."""
    from imgaudit.diffusion.executor import Executor
    from imgaudit.diffusion.prompt_detection import detect_prompts
    from imgaudit.diffusion.word_weights import remove_word
    from imgaudit.schema.detection import PromptSkipped

    pairs = {place: (one.text, remove_word(one.text, word)) for place, one in given.items()}
    pairs = {place: pair for place, pair in pairs.items() if pair[0] != pair[1]}
    if not pairs:
        raise InputError(f"no prompt has the word {word!r:.80} by itself")
    texts = list(dict.fromkeys(text for pair in pairs.values() for text in pair))
    executor = Executor(batch_size, loaded.denoiser.spare_memory)
    found = dict(zip(texts, detect_prompts(loaded.denoiser, texts, settings, executor=executor), strict=True))
    for place, pair in pairs.items():
        before, after = (found[text] for text in pair)
        if isinstance(before, PromptSkipped) or isinstance(after, PromptSkipped):
            why = before.skipped if isinstance(before, PromptSkipped) else after.skipped  # type: ignore[union-attr]
            typer.echo(json.dumps({"number": place, "skipped": why}) if json_output else f"prompt {place}: {why}")
            continue
        change = after.score - before.score
        if json_output:
            row = {"number": place, "prompt": pair[0], "without": pair[1], "score": before.score,
                   "score_without": after.score, "change": change}  # fmt: skip
            typer.echo(json.dumps(row, allow_nan=False))
            continue
        share = f" ({change / before.score:+.0%})" if before.score else ""
        line = f"prompt {place}: {before.score:.4g} with, {after.score:.4g} without: {change:+.4g}{share}   {pair[1]}"
        typer.echo(plain(line).plain)

"""Options that several commands share, each written once."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from imgaudit.cli.paths import require_file, require_folder, require_new_file, require_new_folder, require_present
from imgaudit.cli.signatures import Heading, Take, argument, flag, option
from imgaudit.schema.config import AuditConfig, FailOn, Series, resolve_config
from imgaudit.schema.protocol import Effort, Framing, InvMMConfig, Search


def _words(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(_words(one) for one in value)
    return format(value, "g") if isinstance(value, float) else str(value)


def _usual(read: Callable[[AuditConfig], object]) -> str:
    """Return the default of an option, and what other efforts set instead, as the configuration has them."""
    values = {effort: _words(read(AuditConfig(effort=effort))) for effort in Effort}
    usual = values[AuditConfig().effort]
    others = [f"{effort.value}: {value}" for effort, value in values.items() if value != usual]
    return "; ".join([usual, *others])


@dataclass(frozen=True)
class ConfigOptions:
    """Every key of the configuration as an option; None where it was not given, so that a file can give it."""

    effort: Annotated[
        Effort | None,
        option(Heading.BUDGET, "Named budget: quick, standard or thorough.", metavar="NAME",
               default=AuditConfig().effort.value),
    ] = None  # fmt: skip
    framing: Annotated[
        Framing | None,
        option(Heading.SUBJECT, "How images that are not square are made square: crop, pad, squash, or crop-or-pad "
               "(crop, but pad where a crop would lose more than a quarter of the picture).", metavar="HOW",
               default=_usual(lambda one: one.framing.value)),
    ] = None  # fmt: skip
    series: Annotated[
        Series | None,
        option(Heading.SUBJECT, "folders: each subfolder of the images holds a series (such as a burst) that counts as "
               "one work; or none.", metavar="HOW", default=_usual(lambda one: one.series.value)),
    ] = None  # fmt: skip
    steps: Annotated[
        int | None,
        option(Heading.BUDGET, "Steps of the search for an embedding that reproduces the image (inversion).",
               metavar="N", default=_usual(lambda one: one.protocol.inversion.steps)),
    ] = None  # fmt: skip
    draws: Annotated[
        int | None,
        option(Heading.EXPERT, "Random (timestep, noise) draws per inversion step.", metavar="N",
               default=_usual(lambda one: one.protocol.inversion.draws)),
    ] = None  # fmt: skip
    learning_rate: Annotated[
        float | None,
        option(Heading.EXPERT, "Learning rate of the inversion, in units of the start embedding's root mean square.",
               metavar="X", default=_usual(lambda one: one.protocol.inversion.learning_rate)),
    ] = None  # fmt: skip
    search: Annotated[
        Search | None,
        option(Heading.EXPERT, "Search behind the score of models that predict a flow or a velocity: texts (among sums "
               "of texts, as numbers) or inversion, which measures the score of all other models.", metavar="HOW",
               default=Search.TEXTS.value),
    ] = None  # fmt: skip
    score_after: Annotated[
        int | None,
        option(Heading.EXPERT, "Inversion steps after which the score is measured, where it is measured by inversion.",
               metavar="N", default=_usual(lambda one: one.protocol.error.after_steps)),
    ] = None  # fmt: skip
    seeds: Annotated[
        int | None,
        option(Heading.BUDGET, "Images generated per rung and guidance scale, each from its own seed.", metavar="N",
               default=_usual(lambda one: one.protocol.generation.seeds)),
    ] = None  # fmt: skip
    num_inference_steps: Annotated[
        int | None,
        option(Heading.BUDGET, "Sampling steps of each generated image.", metavar="N",
               default=_usual(lambda one: one.protocol.generation.num_inference_steps)),
    ] = None  # fmt: skip
    guidance_scales: Annotated[
        list[float] | None,
        option(Heading.BUDGET, "Guidance scale of generated images. May be repeated.", "--guidance-scale", metavar="X",
               default=_usual(lambda one: one.protocol.generation.guidance_scales)),
    ] = None  # fmt: skip
    rungs: Annotated[
        list[str] | None,
        option(Heading.BUDGET,
               "Way to ask the model for an image: prompt, caption, paraphrase, tokens, or embedding, which is "
               "always needed. May be repeated.", "--rung", metavar="NAME",
               default=_usual(lambda one: one.protocol.ladder.rungs)),
    ] = None  # fmt: skip
    measures: Annotated[
        list[str] | None,
        option(Heading.BUDGET, "Additional measure, which decides nothing: invmm, which takes minutes per image. "
               "May be repeated.", "--measure", metavar="NAME", default="none"),
    ] = None  # fmt: skip
    funnel: Annotated[
        float | None,
        option(Heading.BUDGET, "To save time, give every image a short score first, score in full only where that is "
               "high, and generate images only where the full score is among the highest SHARE of what images like the "
               "controls get. 0.05 needs 98 controls, or 156 with captions where the images have captions.",
               metavar="SHARE", default="none, every image is asked in all ways"),
    ] = None  # fmt: skip
    streams: Annotated[
        str | None,
        option(Heading.EXPERT, "Text streams to invert; the others stay empty.", metavar="NAME,...",
               default="all of the model's"),
    ] = None  # fmt: skip
    token_words: Annotated[
        int | None,
        option(Heading.EXPERT, "Words of the prompt that the tokens rung searches for.", metavar="N",
               default=_usual(lambda one: one.protocol.tokens.words)),
    ] = None  # fmt: skip
    token_evaluations: Annotated[
        int | None,
        option(Heading.EXPERT, "Network evaluations that this search may use per image.", metavar="N",
               default=_usual(lambda one: one.protocol.tokens.evaluations)),
    ] = None  # fmt: skip
    invmm_steps: Annotated[
        int | None,
        option(Heading.EXPERT, "Most steps of an InvMM search; needs --measure invmm.", metavar="N",
               default=InvMMConfig().steps),
    ] = None  # fmt: skip
    level: Annotated[
        float | None,
        option(Heading.CONTROLS, "False discovery rate: share of false alarms to accept among the images found.",
               metavar="RATE", default=_usual(lambda one: one.level)),
    ] = None  # fmt: skip
    no_controls: Annotated[
        bool | None,
        flag(Heading.CONTROLS, "Audit without controls, and do not ask first. Images that the model does not return "
             "for their own text are then inconclusive.", "--no-controls"),
    ] = None  # fmt: skip
    seed: Annotated[
        int | None,
        option(Heading.EXPERT, "Run seed: the same seed repeats every random draw.", metavar="N",
               default=_usual(lambda one: one.seed)),
    ] = None  # fmt: skip
    chunk_size: Annotated[
        int | None,
        option(Heading.EXPERT, "Images inverted together.", metavar="N", default=_usual(lambda one: one.chunk_size)),
    ] = None  # fmt: skip
    batch_size: Annotated[
        str | None,
        option(Heading.MACHINE, "Largest network batch; auto: what free memory holds, at most 64.", metavar="N",
               default=_usual(lambda one: one.batch_size)),
    ] = None  # fmt: skip
    device: Annotated[
        str | None,
        option(Heading.MACHINE, "auto, cpu, mps, cuda or cuda:N.", metavar="NAME",
               default=_usual(lambda one: one.device)),
    ] = None  # fmt: skip
    fail_on: Annotated[
        FailOn | None,
        option(Heading.OUTPUT,
               "For scripts: exit with code 1 for these verdicts. replicated: any copy, in whole or in part; atypical: "
               "these and atypical; inconclusive: these and inconclusive; skipped: these and files that were not "
               "measured; or never: exit with code 0 whatever was found.",
               metavar="WHAT", default=_usual(lambda one: one.fail_on.value)),
    ] = None  # fmt: skip
    offline: Annotated[bool | None, flag(Heading.MACHINE, "Refuse every network connection.", "--offline")] = None
    rescan: Annotated[
        bool | None,
        flag(Heading.MACHINE, "Read every file again, even if it has not changed since an earlier audit.",
             "--rescan"),
    ] = None  # fmt: skip
    operator: Annotated[
        str | None,
        option(Heading.OUTPUT, "Person who runs the audit, to be recorded in the run.", metavar="NAME", default="none"),
    ] = None  # fmt: skip

    def config_values(self) -> dict[str, Any]:
        """Return the keys of the configuration that were given; repeated options become tuples.

        >>> ConfigOptions(rungs=["embedding"], seeds=4).config_values()
        {'seeds': 4, 'rungs': ('embedding',)}
        """
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        return {key: value for key, value in values.items() if value is not None and value != ()}

    def resolve(self) -> tuple[AuditConfig, dict[str, str]]:
        """Merge the options over variables and files: the configuration, and where each of its values came from."""
        return resolve_config(self.config_values(), others=True)


MeasuringOptions = Annotated[ConfigOptions, Take(without=("level", "fail_on", "operator", "no_controls", "funnel"))]
"""Options that decide how images are measured, without those that decide verdicts."""

DemoOptions = Annotated[ConfigOptions, Take(only=("seed", "batch_size", "device", "offline"))]
"""Options that may differ between two demos."""

Targets = Annotated[Path, argument("TARGETS", help="Folder of images to audit.", callback=require_folder)]
Run = Annotated[Path, argument("RUN", help="Run folder of a finished audit.", callback=require_present)]
Captions = Annotated[
    Path | None,
    option(Heading.SUBJECT, "CSV, JSONL or Parquet file with columns file_name and text: what each image shows.",
           metavar="FILE",
           default="NAME.txt and .xmp files and metadata.jsonl in the folder", callback=require_file),
]  # fmt: skip
Prompts = Annotated[
    Path | None,
    option(Heading.SUBJECT,
           "CSV, JSONL or Parquet file with columns file_name and text: the prompt a user would type for each image.",
           metavar="FILE", default="none", callback=require_file),
]  # fmt: skip
ReferenceOption = Annotated[
    Path | None,
    option(Heading.SUBJECT, "Collection made by `imgaudit index build`, to count near copies of each image in it.",
           "--reference", metavar="INDEX", default="none", callback=require_folder),
]  # fmt: skip
Controls = Annotated[
    Path | None,
    option(Heading.CONTROLS, "Images that cannot have been in the training set, as far as you know. They are "
           "measured first, and show what happens without training (p-values).", metavar="FOLDER", default="none",
           callback=require_folder),
]  # fmt: skip
Calibration = Annotated[
    Path | None,
    option(Heading.CONTROLS, "Null bank made by `imgaudit calibrate`: controls that are measured already.",
           metavar="FILE", default="none", callback=require_file),
]  # fmt: skip
Decoys = Annotated[
    Path | None,
    option(Heading.CONTROLS, "Other images, to check that generated images are not as close to them by chance.",
           metavar="FOLDER", default="the controls",
           callback=require_folder),
]  # fmt: skip
PolicyOption = Annotated[
    Path | None,
    option(Heading.CONTROLS, "TOML or JSON file: how measurements become verdicts.", "--policy", metavar="FILE",
           default="the built-in policy", callback=require_file),
]  # fmt: skip
SealOption = Annotated[
    Path | None,
    option(Heading.CONTROLS, "Seal made by `imgaudit seal`: the audit takes its options from it, and is refused if it "
           "departs from it.", "--seal", metavar="FILE", default="none", callback=require_file),
]  # fmt: skip
ShardOption = Annotated[
    str,
    option(Heading.MACHINE, "Measure only one of N parts of the images, such as 3/20, so that several machines "
           "can share the work. No verdict is final before `imgaudit merge` has joined all parts.", "--shard",
           metavar="I/N", default="all images"),
]  # fmt: skip
Out = Annotated[
    Path,
    option(Heading.OUTPUT, "Folder for results. Name it again to continue an interrupted command.", "--out", "-o",
           metavar="FOLDER", callback=require_new_folder),
]  # fmt: skip
Quiet = Annotated[bool, flag(Heading.OUTPUT, "Show no progress and no notes.", "--quiet", "-q")]
Json = Annotated[bool, flag(Heading.OUTPUT, "Print JSON, one line per result, instead of a table.", "--json")]
StreamedJson = Annotated[
    bool,
    flag(Heading.OUTPUT, "Print JSON, one line per finding and one for the summary, instead of a table. All come at "
         "the end: every verdict depends on the whole folder.", "--json"),
]  # fmt: skip
LogFile = Annotated[
    Path | None,
    option(Heading.OUTPUT, "File to append lines of JSON to while the audit runs: stages, images measured with their "
           "seconds, findings. Outside of the folders that are audited.", "--log-file", metavar="FILE", default="none",
           callback=require_new_file),
]  # fmt: skip
JsonReport = Annotated[bool, flag(Heading.OUTPUT, "Print JSON.", "--json")]
DryRun = Annotated[
    bool,
    flag(Heading.OUTPUT,
         "Print what would be done and the time and memory it takes, and stop. Times a few network passes.",
         "--dry-run"),
]  # fmt: skip
Device = Annotated[
    str | None, option(Heading.MACHINE, "auto, cpu, mps, cuda or cuda:N.", metavar="NAME", default="auto")
]
Offline = Annotated[bool, flag(Heading.MACHINE, "Refuse every network connection.", "--offline")]
Batch = Annotated[int, option(Heading.MACHINE, "Largest network batch.", "--batch-size", metavar="N", min=1)]
Seed = Annotated[
    int, option(Heading.EXPERT, "Run seed: the same seed repeats every random draw.", "--seed", metavar="N")
]
FramingOption = Annotated[
    Framing,
    option(Heading.EXPERT, "How images that are not square are made square: crop, pad, squash or crop-or-pad.",
           metavar="HOW"),
]  # fmt: skip

"""Options that several commands share, each written once."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from imgaudit.cli.signatures import Heading, Take, argument, flag, option
from imgaudit.schema.config import AuditConfig, FailOn, resolve_config
from imgaudit.schema.protocol import Effort, Framing, InvMMConfig


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
        option(metavar="NAME", heading=Heading.BUDGET, default=AuditConfig().effort.value,
               help="Named budget: quick, standard or thorough."),
    ] = None  # fmt: skip
    framing: Annotated[
        Framing | None,
        option(metavar="HOW", heading=Heading.SUBJECT, default=_usual(lambda one: one.framing.value),
               help="How images that are not square are made square: crop, pad or squash."),
    ] = None  # fmt: skip
    steps: Annotated[
        int | None,
        option(metavar="N", heading=Heading.BUDGET, default=_usual(lambda one: one.protocol.inversion.steps),
               help="Steps of the search for an embedding that reproduces the image (inversion)."),
    ] = None  # fmt: skip
    draws: Annotated[
        int | None,
        option(metavar="N", heading=Heading.EXPERT, default=_usual(lambda one: one.protocol.inversion.draws),
               help="Random (timestep, noise) draws per inversion step."),
    ] = None  # fmt: skip
    learning_rate: Annotated[
        float | None,
        option(metavar="X", heading=Heading.EXPERT, default=_usual(lambda one: one.protocol.inversion.learning_rate),
               help="Learning rate of the inversion, in units of the start embedding's root mean square."),
    ] = None  # fmt: skip
    score_after: Annotated[
        int | None,
        option(metavar="N", heading=Heading.EXPERT, default=_usual(lambda one: one.protocol.error.after_steps),
               help="Inversion steps after which the score is measured."),
    ] = None  # fmt: skip
    seeds: Annotated[
        int | None,
        option(metavar="N", heading=Heading.BUDGET, default=_usual(lambda one: one.protocol.generation.seeds),
               help="Images generated per rung and guidance scale, each from its own seed."),
    ] = None  # fmt: skip
    num_inference_steps: Annotated[
        int | None,
        option(metavar="N", heading=Heading.BUDGET,
               default=_usual(lambda one: one.protocol.generation.num_inference_steps),
               help="Sampling steps of each generated image."),
    ] = None  # fmt: skip
    guidance_scales: Annotated[
        list[float] | None,
        option("--guidance-scale", metavar="X", heading=Heading.BUDGET,
               default=_usual(lambda one: one.protocol.generation.guidance_scales),
               help="Guidance scale of generated images. May be repeated."),
    ] = None  # fmt: skip
    rungs: Annotated[
        list[str] | None,
        option("--rung", metavar="NAME", heading=Heading.BUDGET,
               default=_usual(lambda one: one.protocol.ladder.rungs),
               help="Way to ask the model for an image: prompt, caption, paraphrase, tokens, or embedding, which is "
               "always needed. May be repeated."),
    ] = None  # fmt: skip
    measures: Annotated[
        list[str] | None,
        option("--measure", metavar="NAME", heading=Heading.BUDGET, default="none",
               help="Additional measure, which decides nothing: invmm, which takes minutes per image. "
               "May be repeated."),
    ] = None  # fmt: skip
    streams: Annotated[
        str | None,
        option(metavar="NAME,...", heading=Heading.EXPERT, default="all of the model's",
               help="Text streams to invert; the others stay empty."),
    ] = None  # fmt: skip
    token_words: Annotated[
        int | None,
        option(metavar="N", heading=Heading.EXPERT, default=_usual(lambda one: one.protocol.tokens.words),
               help="Words of the prompt that the tokens rung searches for."),
    ] = None  # fmt: skip
    token_evaluations: Annotated[
        int | None,
        option(metavar="N", heading=Heading.EXPERT, default=_usual(lambda one: one.protocol.tokens.evaluations),
               help="Network evaluations per image of that search."),
    ] = None  # fmt: skip
    invmm_steps: Annotated[
        int | None,
        option(metavar="N", heading=Heading.EXPERT, default=InvMMConfig().steps,
               help="Most steps of an InvMM search; needs --measure invmm."),
    ] = None  # fmt: skip
    level: Annotated[
        float | None,
        option(metavar="RATE", heading=Heading.CONTROLS, default=_usual(lambda one: one.level),
               help="False discovery rate: share of false alarms to accept among the images found."),
    ] = None  # fmt: skip
    seed: Annotated[
        int | None,
        option(metavar="N", heading=Heading.EXPERT, default=_usual(lambda one: one.seed),
               help="Run seed: the same seed repeats every random draw."),
    ] = None  # fmt: skip
    chunk_size: Annotated[
        int | None,
        option(metavar="N", heading=Heading.EXPERT, default=_usual(lambda one: one.chunk_size),
               help="Images inverted together."),
    ] = None  # fmt: skip
    batch_size: Annotated[
        str | None,
        option(metavar="N", heading=Heading.MACHINE, default=_usual(lambda one: one.batch_size),
               help="Largest network batch; auto: what free memory holds, at most 64."),
    ] = None  # fmt: skip
    device: Annotated[
        str | None,
        option(metavar="NAME", heading=Heading.MACHINE, default=_usual(lambda one: one.device),
               help="auto, cpu, mps, cuda or cuda:N."),
    ] = None  # fmt: skip
    fail_on: Annotated[
        FailOn | None,
        option(metavar="WHAT", heading=Heading.OUTPUT, default=_usual(lambda one: one.fail_on.value),
               help="Verdicts for which the exit code is 1: replicated, atypical (replicated as well), or never."),
    ] = None  # fmt: skip
    offline: Annotated[
        bool | None, flag("--offline", heading=Heading.MACHINE, help="Refuse every network connection.")
    ] = None
    rescan: Annotated[
        bool | None,
        flag("--rescan", heading=Heading.MACHINE,
             help="Read every file again, also files that have not changed since an earlier audit."),
    ] = None  # fmt: skip
    operator: Annotated[
        str | None,
        option(metavar="NAME", heading=Heading.OUTPUT, default="none",
               help="Person who runs the audit, to be recorded in the run."),
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
        return resolve_config(self.config_values())


MeasuringOptions = Annotated[ConfigOptions, Take(without=("level", "fail_on", "operator"))]
"""What decides how images are measured, without what decides verdicts."""

DemoOptions = Annotated[ConfigOptions, Take(only=("seed", "batch_size", "device", "offline"))]
"""What may differ between two demos."""

Targets = Annotated[Path, argument("TARGETS", help="Folder of images to audit.")]
Run = Annotated[Path, argument("RUN", help="Run folder of a finished audit.")]
Captions = Annotated[
    Path | None,
    option(metavar="FILE", heading=Heading.SUBJECT, default="NAME.txt files and metadata.jsonl in the folder",
           help="CSV or JSONL file with columns file_name and text: what each image shows."),
]  # fmt: skip
Prompts = Annotated[
    Path | None,
    option(metavar="FILE", heading=Heading.SUBJECT, default="none",
           help="CSV or JSONL file with columns file_name and text: the prompt a user would type for each image."),
]  # fmt: skip
ReferenceOption = Annotated[
    Path | None,
    option("--reference", metavar="INDEX", heading=Heading.SUBJECT, default="none",
           help="Collection made by `imgaudit index build`, to count near copies of each image in it."),
]  # fmt: skip
Controls = Annotated[
    Path | None,
    option(metavar="FOLDER", heading=Heading.CONTROLS, default="none",
           help="Images known not to be in the training set. They are measured first and give p-values."),
]  # fmt: skip
Calibration = Annotated[
    Path | None,
    option(metavar="FILE", heading=Heading.CONTROLS, default="none",
           help="Null bank made by `imgaudit calibrate`: controls that are measured already."),
]  # fmt: skip
Decoys = Annotated[
    Path | None,
    option(metavar="FOLDER", heading=Heading.CONTROLS, default="the controls",
           help="Other images, to check that generated images are not just as close to them."),
]  # fmt: skip
PolicyOption = Annotated[
    Path | None,
    option("--policy", metavar="FILE", heading=Heading.CONTROLS, default="the built-in policy",
           help="TOML or JSON file: how measurements become verdicts."),
]  # fmt: skip
Out = Annotated[
    Path,
    option("--out", "-o", metavar="FOLDER", heading=Heading.OUTPUT,
           help="Folder for results. Name it again to continue an interrupted command."),
]  # fmt: skip
Quiet = Annotated[bool, flag("--quiet", "-q", heading=Heading.OUTPUT, help="Show no progress and no notes.")]
Json = Annotated[
    bool,
    flag("--json", heading=Heading.OUTPUT, help="Print JSON, one line per result, instead of a table."),
]
JsonReport = Annotated[bool, flag("--json", heading=Heading.OUTPUT, help="Print JSON.")]
DryRun = Annotated[
    bool,
    flag("--dry-run", heading=Heading.OUTPUT,
         help="Print what would be done and the time and memory it takes, and stop. Times a few network passes."),
]  # fmt: skip
Device = Annotated[
    str | None,
    option(metavar="NAME", heading=Heading.MACHINE, default="auto", help="auto, cpu, mps, cuda or cuda:N."),
]
Offline = Annotated[bool, flag("--offline", heading=Heading.MACHINE, help="Refuse every network connection.")]
Batch = Annotated[
    int,
    option("--batch-size", metavar="N", heading=Heading.MACHINE, min=1, help="Largest network batch."),
]
Seed = Annotated[
    int,
    option("--seed", metavar="N", heading=Heading.EXPERT, help="Run seed: the same seed repeats every random draw."),
]
FramingOption = Annotated[
    Framing,
    option(metavar="HOW", heading=Heading.EXPERT,
           help="How images that are not square are made square: crop, pad or squash."),
]  # fmt: skip

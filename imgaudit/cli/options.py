"""Options of the commands that put images through the procedure, and how they become configuration."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from imgaudit.schema.protocol import Effort, Framing

Targets = Annotated[Path, typer.Argument(metavar="TARGETS", help="Folder of images to audit.", show_default=False)]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="Diffusers folder, single safetensors file, hub id[@revision], or a bundled lab: demo.",
        show_default=False,
    ),
]
Loras = Annotated[
    list[str] | None,
    typer.Option(
        "--lora",
        metavar="FILE[:WEIGHT]",
        help="LoRA (safetensors, or a folder with one) to fuse into the model, times a weight; may be repeated.",
        show_default=False,
    ),
]
Variant = Annotated[
    str | None,
    typer.Option(
        "--variant", help="Variant of the model's weights, such as fp16. [default: the plain ones]", show_default=False
    ),
]
ModelConfig = Annotated[
    str | None,
    typer.Option(
        "--model-config",
        help="Diffusers folder or hub id that holds what a single file lacks: schedule, tokenizers, missing networks. "
        "[default: the one diffusers takes]",
        show_default=False,
    ),
]
Offload = Annotated[
    Literal["none", "model", "sequential"],
    typer.Option(help="What waits in main memory while the GPU does not need it: nothing, networks, or layers."),
]
Compiled = Annotated[
    bool,
    typer.Option("--compile", help="Let torch compile the network's blocks: slow to begin, then faster."),
]
Behind = Annotated[
    str | None,
    typer.Option(
        "--mitigation",
        help="Put the model behind an inference-time mitigation, see `imgaudit mitigate list`.",
        show_default=False,
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Run folder; an existing one of the same audit is continued.")]
EffortOption = Annotated[Effort | None, typer.Option(help="Named budget. [default: standard]", show_default=False)]
FramingOption = Annotated[
    Framing | None,
    typer.Option(help="How images that are not square meet the model. [default: crop]", show_default=False),
]
Steps = Annotated[int | None, typer.Option(help="Inversion steps, instead of the effort's.", show_default=False)]
Draws = Annotated[int | None, typer.Option(help="Draws per inversion step.", show_default=False)]
LearningRate = Annotated[
    float | None,
    typer.Option(help="Of the inversion, in units of the start's root mean square. [default: 0.1]", show_default=False),
]
ScoreAfter = Annotated[
    int | None, typer.Option(help="Inversion steps before the score. [default: 8]", show_default=False)
]
Seeds = Annotated[int | None, typer.Option(help="Seeds per rung.", show_default=False)]
SamplingSteps = Annotated[int | None, typer.Option("--num-inference-steps", help="Sampling steps.", show_default=False)]
Guidance = Annotated[
    list[float] | None, typer.Option("--guidance-scale", help="Guidance scale; may be repeated.", show_default=False)
]
TokenWords = Annotated[int | None, typer.Option(help="Words of a searched prompt.", show_default=False)]
TokenEvaluations = Annotated[
    int | None, typer.Option(help="Network evaluations of that search per image.", show_default=False)
]
Level = Annotated[float | None, typer.Option(help="False discovery rate. [default: 0.05]", show_default=False)]
Seed = Annotated[int | None, typer.Option(help="Run seed. [default: 0]", show_default=False)]
ChunkSize = Annotated[int | None, typer.Option(help="Images inverted together. [default: 8]", show_default=False)]
BatchSize = Annotated[
    str | None,
    typer.Option(help="Largest network batch, or auto: up to 64, by free memory. [default: auto]", show_default=False),
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, mps, cuda or cuda:N. [default: auto]", show_default=False)]
Offline = Annotated[
    bool | None, typer.Option("--offline", help="Refuse every network connection of this process.", show_default=False)
]
Rescan = Annotated[
    bool | None,
    typer.Option("--rescan", help="Read every file again, also those unchanged since an earlier audit.",
                 show_default=False),
]  # fmt: skip
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no talk.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON line per finding on stdout, then the summary.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be done and what it costs, for which a few passes are made.")
]
Captions = Annotated[
    Path | None,
    typer.Option(
        help="CSV or JSONL with file_name and text. [default: sidecars and metadata.jsonl]", show_default=False
    ),
]
Prompts = Annotated[
    Path | None, typer.Option(help="CSV or JSONL with file_name and the prompts you would type.", show_default=False)
]
Controls = Annotated[
    Path | None, typer.Option(help="Folder of images known not to be in the training set.", show_default=False)
]
ReferenceOption = Annotated[
    Path | None,
    typer.Option(
        "--reference",
        help="Collection that `imgaudit index build` made: near copies of each image in it are counted.",
        show_default=False,
    ),
]
Decoys = Annotated[
    Path | None,
    typer.Option(
        help="Folder of other images that replicas are compared with. [default: the controls]", show_default=False
    ),
]
PolicyOption = Annotated[
    Path | None,
    typer.Option("--policy", help="TOML or JSON: how measurements become verdicts.", show_default=False),
]
Rungs = Annotated[
    list[str] | None,
    typer.Option("--rung", help="Rung of the ladder; may be repeated. [default: the effort's]", show_default=False),
]
Measures = Annotated[
    list[str] | None,
    typer.Option(
        "--measure",
        help="Measure beside those that decide: invmm, which takes minutes for an image; may be repeated.",
        show_default=False,
    ),
]
InvMMSteps = Annotated[
    int | None, typer.Option("--invmm-steps", help="Longest search of InvMM, in steps.", show_default=False)
]
Streams = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,...",
        help="Text streams to invert, the others saying nothing. [default: all of the model's]",
        show_default=False,
    ),
]
Calibration = Annotated[Path | None, typer.Option(help="Null bank made by `imgaudit calibrate`.", show_default=False)]


def given(
    guidance_scale: Sequence[float] | None,
    rung: Sequence[str] | None,
    measure: Sequence[str] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Keys of the configuration from options; those that may be repeated become tuples.

    >>> given(None, ["embedding"], seeds=4)
    {'seeds': 4, 'guidance_scales': None, 'rungs': ('embedding',), 'measures': None}
    """
    return {
        **options,
        "guidance_scales": tuple(guidance_scale) if guidance_scale else None,
        "rungs": tuple(rung) if rung else None,
        "measures": tuple(measure) if measure else None,
    }

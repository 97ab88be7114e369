"""`imgaudit benchmark invmm`: how well InvMM tells memorised images from held-out ones, and what it costs."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgaudit.cli.benchmark_options import (
    Batch,
    Device,
    Images,
    Json,
    Model,
    Out,
    Quiet,
    Save,
    Seed,
    Table,
    open_corpus,
    show,
)
from imgaudit.cli.terminal import progress

if TYPE_CHECKING:
    from imgaudit.benchmark.methods.invmm_scores import InvMMReport


def invmm_command(
    model: Model = "demo",
    images: Images = None,
    out: Out = Path("imgaudit-benchmark"),
    seed: Seed = 1,
    images_each: Annotated[
        int, typer.Option("--images-each", min=1, help="Memorised and as many held-out images.")
    ] = 16,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Longest search, instead of the audit's.", show_default=False)
    ] = None,
    table: Table = None,
    save: Save = None,
    batch_size: Batch = 64,
    device: Device = "auto",
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """InvMM on memorised and held-out images, failures ranked last, with its cost beside the plain embedding's."""
    from imgaudit.benchmark.harness.score_table import read_record, write_lines
    from imgaudit.benchmark.methods.invmm_scores import InvMMTable, invmm_report, measure_invmm_scores
    from imgaudit.schema.protocol import InvMMConfig

    if table is not None:
        measured = read_record(InvMMTable, table)
    else:
        from imgaudit.diffusion.executor import Executor

        lab, located = open_corpus(model, images, device)
        config = InvMMConfig() if steps is None else InvMMConfig(steps=steps)
        with progress("InvMM", quiet=quiet) as on_progress:
            measured = measure_invmm_scores(
                lab, located, out, run_seed=seed, executor=Executor(batch_size), config=config,
                images_each=images_each, on_progress=on_progress,
            )  # fmt: skip
    if save is not None:
        write_lines(save, measured, ("rows",))
    report = invmm_report(measured)
    show(report, invmm_lines(report), json_output=json_output)


def invmm_lines(report: "InvMMReport") -> Iterator[str]:
    """Separation, successes, medians, cost, hopes."""
    from imgaudit.benchmark.methods.invmm_scores import CHUNK
    from imgaudit.cli.benchmark_tables import goal_lines, rate_lines

    config = report.config
    scales = ", ".join(f"{scale:g}" for scale in config.guidance_scales)
    yield f"lab {report.lab}, seed {report.seed}, {report.hardware}; condition: {report.condition}"
    yield (
        f"at most {config.steps} steps of {config.draws} draws, a check every {config.check_every} of {config.noises} "
        f"samples of {config.num_inference_steps} steps at guidance {scales}"
    )
    yield ""
    yield "memorised images                         against    AUC    95 % interval    n"
    for one in report.separations:
        yield (
            f"{one.name:41}{one.against:9}{one.auc:.3f}   {one.low:.3f} to {one.high:.3f}   "
            f"{one.positives} / {one.negatives}"
        )
    yield ""
    yield from rate_lines("", report.successes)
    for group, median in report.medians.items():
        yield f"median KL per dimension, {group}: " + ("none, most failed" if median is None else f"{median:.4f} nats")
    yield ""
    yield "mean per image                           images       n    steps   network evaluations   seconds"
    for cost in report.costs:
        yield (
            f"{cost.name:41}{cost.group:11}{cost.n:3} {cost.steps:8.0f} {cost.evaluations:21,.0f} {cost.seconds:9.1f}"
        )
    yield f"(seconds are shares of chunks of {CHUNK} images, which may hold both kinds)"
    yield from goal_lines(report.targets)

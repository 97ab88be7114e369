"""`imgaudit benchmark lora`: a LoRA that memorises is trained, audited with its base, and compared with it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgaudit.cli.benchmark_options import Images, Json, Model, Out, Quiet, Save, Seed, Table, show, stages

if TYPE_CHECKING:
    from imgaudit.benchmark.methods.lora import LoraReport


def lora(
    model: Model = "demo",
    images: Images = None,
    planted: Annotated[int, typer.Option(min=1, help="Held-out images that the LoRA is trained on.")] = 16,
    others: Annotated[int, typer.Option(min=1, help="Held-out images that nothing is trained on.")] = 32,
    controls: Annotated[int, typer.Option(min=8, help="Further held-out images, for both banks.")] = 160,
    rank: Annotated[int, typer.Option(min=1, help="Of the LoRA.")] = 32,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps of the LoRA.")] = 400,
    out: Out = Path("imgaudit-benchmark"),
    seed: Seed = 1,
    table: Table = None,
    save: Save = None,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """A LoRA trained on a few images: does auditing base and LoRA find them, and does `compare` say so?"""
    from imgaudit.benchmark.harness.score_table import read_record, write_lines
    from imgaudit.benchmark.methods.lora import LoraReport, measure_lora

    if table is not None:
        report = read_record(LoraReport, table)
    else:
        from imgaudit.benchmark.harness.cases import locate
        from imgaudit.models.loading import BUNDLED, bundled_lab

        # A bundled lab has its images in several folders.
        folder = images or (bundled_lab(model) if model in BUNDLED else Path(model))
        with stages(quiet=quiet) as on_progress:
            report = measure_lora(
                model, locate(folder), out / "lora", planted=planted, others=others, controls=controls, rank=rank,
                steps=steps, seed=seed, on_progress=on_progress,
            )  # fmt: skip
    if save is not None:
        write_lines(save, report, ("commands", "rates", "targets"))
    show(report, lora_lines(report), json_output=json_output)


def lora_lines(report: "LoraReport") -> Iterator[str]:
    """What was run, rates per group, states of the comparison, hopes."""
    from imgaudit.cli.benchmark_tables import goal_lines, rate_lines

    yield (
        f"lab {report.lab}, LoRA of rank {report.rank} after {report.steps} steps, seed {report.seed}, "
        f"{report.controls} controls in either bank, {report.hardware}"
    )
    yield ""
    yield from report.commands
    yield ""
    yield from rate_lines("what of", report.rates)
    yield ""
    for group, states in report.changes.items():
        yield f"{group:28}" + ", ".join(f"{count} {change.value}" for change, count in states.items())
    yield from goal_lines(report.targets)

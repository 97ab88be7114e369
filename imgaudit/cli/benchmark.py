"""`imgaudit benchmark`: the tool's own error rates and speed, printed with n, interval and seed."""

import json
from collections.abc import Callable
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
    stages,
)
from imgaudit.cli.compile_benchmark import compile_command
from imgaudit.cli.copies_benchmark import copies
from imgaudit.cli.error_benchmarks import controls, detection, errors, ladder
from imgaudit.cli.index_benchmark import index_command
from imgaudit.cli.invmm_benchmark import invmm_command
from imgaudit.cli.lora_benchmark import lora
from imgaudit.cli.memory_benchmark import memory
from imgaudit.cli.method_benchmarks import methods
from imgaudit.cli.mitigation_benchmark import mitigations
from imgaudit.cli.prompt_benchmark import prompt_detection
from imgaudit.cli.report_benchmark import report_command
from imgaudit.cli.robustness_benchmarks import robustness, screening
from imgaudit.cli.template_benchmark import templates
from imgaudit.cli.terminal import progress
from imgaudit.cli.trigger_benchmark import triggers

if TYPE_CHECKING:
    from imgaudit.benchmark.harness.budget_table import BudgetRow

benchmark = typer.Typer(help="The tool's own error rates and speed.", no_args_is_help=True)


def register(app: typer.Typer, heading: str) -> None:
    """Add the group."""
    for command in (
        detection,
        controls,
        errors,
        ladder,
        robustness,
        screening,
        lora,
        memory,
        templates,
        copies,
        mitigations,
        methods,
    ):
        benchmark.command()(command)
    benchmark.command(name="prompt-detection")(prompt_detection)
    benchmark.command()(triggers)
    benchmark.command(name="compile")(compile_command)
    benchmark.command(name="index")(index_command)
    benchmark.command(name="invmm")(invmm_command)
    benchmark.command(name="report")(report_command)
    app.add_typer(benchmark, name="benchmark", rich_help_panel=heading)


@benchmark.callback()
def _group() -> None:
    """The tool's own error rates and speed, with n, interval and seed."""


def _rows(table: Path | None, save: Path | None, measure: "Callable[[], list[BudgetRow]]") -> "list[BudgetRow]":
    from imgaudit.benchmark.harness.budget_table import read_rows, write_rows

    rows = read_rows(table) if table is not None else measure()
    if save is not None:
        write_rows(rows, save)
    return rows


def _show_points(rows: "list[BudgetRow]", *, json_output: bool) -> None:
    from imgaudit.benchmark.harness.budget_table import budget_points
    from imgaudit.cli.benchmark_tables import point_lines

    points = budget_points(rows)
    if json_output:
        typer.echo(json.dumps([point.model_dump(mode="json") for point in points], indent=2))
        return
    for line in point_lines(points):
        typer.echo(line)


@benchmark.command()
def designs(
    model: Model = "examples/labs/fit",
    images: Images = None,
    out: Out = Path("imgaudit-benchmark"),
    seed: Seed = 1,
    table: Table = None,
    save: Save = None,
    batch_size: Batch = 64,
    device: Device = "auto",
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Choices of the inversion, one varied at a time: how defaults are chosen, on the lab `fit` alone."""
    from imgaudit.benchmark.budgets.designs import measure_designs
    from imgaudit.diffusion.executor import Executor

    def measure() -> "list[BudgetRow]":
        lab, located = open_corpus(model, images, device)
        with stages(quiet=quiet) as on_progress:
            return measure_designs(
                lab, located, out, run_seed=seed, executor=Executor(batch_size), on_progress=on_progress
            )

    _show_points(_rows(table, save, measure), json_output=json_output)


@benchmark.command()
def guidance(
    model: Model = "examples/labs/fit",
    images: Images = None,
    out: Out = Path("imgaudit-benchmark"),
    seed: Seed = 1,
    table: Table = None,
    save: Save = None,
    batch_size: Batch = 64,
    device: Device = "auto",
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Guidance scales and sampling steps, on the lab `fit` alone."""
    from imgaudit.benchmark.budgets.guidance import measure_guidance
    from imgaudit.diffusion.executor import Executor

    def measure() -> "list[BudgetRow]":
        lab, located = open_corpus(model, images, device)
        with progress("sampling", quiet=quiet) as on_progress:
            return measure_guidance(
                lab, located, out, run_seed=seed, executor=Executor(batch_size), on_progress=on_progress
            )

    _show_points(_rows(table, save, measure), json_output=json_output)


@benchmark.command()
def prompts(
    model: Model = "examples/labs/fit",
    images: Images = None,
    out: Out = Path("imgaudit-benchmark"),
    seed: Seed = 1,
    table: Table = None,
    save: Save = None,
    batch_size: Batch = 64,
    device: Device = "auto",
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Prompts searched with the image in hand, by number of words and budget, on the lab `fit` alone."""
    from imgaudit.benchmark.budgets.token_search import measure_prompts, prompt_report
    from imgaudit.cli.benchmark_tables import prompt_lines
    from imgaudit.diffusion.executor import Executor

    def measure() -> "list[BudgetRow]":
        lab, located = open_corpus(model, images, device)
        with progress("searching", quiet=quiet) as on_progress:
            return measure_prompts(
                lab, located, out, run_seed=seed, executor=Executor(batch_size), on_progress=on_progress
            )

    report = prompt_report(_rows(table, save, measure))
    show(report, prompt_lines(report), json_output=json_output)


@benchmark.command()
def budget(
    model: Model = "demo",
    images: Images = None,
    out: Out = Path("imgaudit-benchmark"),
    seed: Seed = 1,
    table: Table = None,
    save: Save = None,
    batch_size: Batch = 64,
    device: Device = "auto",
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """What more inversion steps buy, and from when on images that were never trained on come out."""
    from imgaudit.benchmark.budgets.budget import budget_report, measure_budget
    from imgaudit.cli.benchmark_tables import budget_lines
    from imgaudit.diffusion.executor import Executor

    def measure() -> "list[BudgetRow]":
        lab, located = open_corpus(model, images, device)
        with progress("inverting", quiet=quiet) as on_progress:
            return measure_budget(
                lab, located, out, run_seed=seed, executor=Executor(batch_size), on_progress=on_progress
            )

    report = budget_report(_rows(table, save, measure))
    show(report, budget_lines(report), json_output=json_output)


@benchmark.command()
def frontier(
    model: Model = "demo",
    images: Images = None,
    out: Out = Path("imgaudit-benchmark"),
    seed: Seed = 1,
    baselines: Annotated[
        str, typer.Option(help="Published protocols to run as well: dori, invmm, both, none.")
    ] = "dori",
    invmm_images: Annotated[
        int, typer.Option(min=1, help="Memorised and as many held-out images for InvMM, which takes minutes for each.")
    ] = 8,
    table: Table = None,
    save: Save = None,
    batch_size: Batch = 64,
    device: Device = "auto",
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Detection against network evaluations per image, with DoRI's and InvMM's protocols as points."""
    from functools import partial

    from imgaudit.benchmark.budgets.dori import measure_dori
    from imgaudit.benchmark.budgets.frontier import COUNTS, frontier_report, measure_frontier
    from imgaudit.benchmark.budgets.invmm_baseline import measure_invmm
    from imgaudit.cli.benchmark_tables import frontier_lines
    from imgaudit.diffusion.executor import Executor

    chosen = {"dori": ["dori"], "invmm": ["invmm"], "both": ["dori", "invmm"], "none": []}.get(baselines)
    if chosen is None:
        raise typer.BadParameter(f"expected dori, invmm, both or none, but got {baselines!r}", param_hint="--baselines")

    def measure() -> "list[BudgetRow]":
        lab, located = open_corpus(model, images, device)
        rows: list[BudgetRow] = []
        few_invmm = partial(measure_invmm, images_each=invmm_images)
        for name, measured in (("imgaudit", measure_frontier), ("dori", measure_dori), ("invmm", few_invmm)):
            if name == "imgaudit" or name in chosen:
                with progress(name, quiet=quiet) as on_progress:
                    executor = Executor(batch_size)
                    rows += measured(
                        lab, located, out, run_seed=seed, executor=executor, counts=COUNTS, on_progress=on_progress
                    )
        return rows

    report = frontier_report(_rows(table, save, measure))
    show(report, frontier_lines(report), json_output=json_output)


@benchmark.command()
def speed(
    model: Model = "demo",
    images: Images = None,
    count: Annotated[int, typer.Option(min=1, help="Images measured together.")] = 8,
    effort: Annotated[str, typer.Option(help="quick, standard or thorough.")] = "quick",
    seed: Seed = 1,
    table: Table = None,
    save: Save = None,
    batch_size: Batch = 64,
    device: Device = "auto",
    json_output: Json = False,
) -> None:
    """Seconds and network evaluations per stage, beside the raw time of the same network passes."""
    from imgaudit.benchmark.harness.cases import CaseCounts, choose_cases, load_cases
    from imgaudit.benchmark.harness.lab_model import hardware
    from imgaudit.benchmark.speed.speed import SpeedReport, measure_speed
    from imgaudit.cli.benchmark_tables import speed_lines
    from imgaudit.io.writing import read_json, write_json
    from imgaudit.schema.protocol import Effort, protocol_for

    if table is not None:
        report = SpeedReport.model_validate(read_json(table))
    else:
        lab, located = open_corpus(model, images, device)
        measured = [image for image in choose_cases(lab.description, CaseCounts()).measured if image.sha256 in located]
        report = measure_speed(
            lab.loaded.denoiser,
            load_cases(measured[:count], located).targets,
            protocol_for(Effort(effort), lab.description.recipe.framing),
            hardware=hardware(lab.loaded.denoiser),
            run_seed=seed,
            batch_size=batch_size,
        )
    if save is not None:
        write_json(save, report.model_dump(mode="json"))
    show(report, speed_lines(report), json_output=json_output)

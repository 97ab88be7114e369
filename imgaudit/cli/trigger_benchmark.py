"""`imgaudit benchmark triggers`: what a trigger search finds, beside random sentences."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from imgaudit.cli.benchmark_options import (
    Batch,
    Device,
    Images,
    Json,
    Model,
    Quiet,
    Save,
    Seed,
    Table,
    open_corpus,
    show,
    stages,
)

if TYPE_CHECKING:
    from imgaudit.benchmark.methods.trigger_search import TriggerReport


def triggers(
    model: Model = "demo",
    images: Images = None,
    seed: Seed = 1,
    table: Table = None,
    save: Save = None,
    batch_size: Batch = 256,
    device: Device = "auto",
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Memorised images that a trigger search finds, and false clusters, beside as many random sentences."""
    from imgaudit.benchmark.harness.score_table import read_record, write_lines
    from imgaudit.benchmark.methods.trigger_search import TriggerTable, measure_triggers, trigger_report

    if table is not None:
        measured = read_record(TriggerTable, table)
    else:
        from imgaudit.diffusion.executor import Executor

        lab, located = open_corpus(model, images, device)
        with stages(quiet=quiet) as on_progress:
            measured = measure_triggers(
                lab, located, run_seed=seed, executor=Executor(batch_size), on_progress=on_progress
            )
    if save is not None:
        write_lines(save, measured, ("rows",))
    report = trigger_report(measured)
    show(report, trigger_lines(report), json_output=json_output)


def trigger_lines(report: "TriggerReport") -> Iterator[str]:
    """What each way of choosing prompts found, rates, hopes."""
    from imgaudit.cli.benchmark_tables import goal_lines, rate_lines

    table = report.table
    search = table.search
    yield f"lab {table.lab}, seed {table.seed}, {table.hardware}; defaults chosen on the lab fit"
    yield (
        f"{search.chains} chains, {search.iterations} steps, {search.candidates} candidates, {search.noises} noises, "
        f"K {search.temperature:g} x {table.scale:.4g}, D in {table.space}"
    )
    yield f"words: {table.proposal}; {table.images.images} images per prompt"
    yield ""
    heading = f"{'prompts by':27}{'measured':>9}{'prompts':>9}{'median D':>10}{'clusters':>10}"
    yield f"{heading}  memorised, other planted, neither"
    for row in table.rows:
        yield (
            f"{row.name:27}{row.measured:9,}{row.prompts:9}{row.median:10.3g}{row.clusters:10}  "
            f"{len(row.found)}, {row.other_planted}, {row.unplanted}"
        )
    yield ""
    yield from rate_lines("found", report.rates)
    yield from goal_lines(report.targets)

"""`imgaudit benchmark prompt-detection`: scores of captions of memorised images against those of others."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from imgaudit.cli.benchmark_options import Batch, Device, Json, Model, Quiet, Save, Seed, Table, show, stages

if TYPE_CHECKING:
    from imgaudit.benchmark.methods.prompt_scores import PromptScoreReport


def prompt_detection(
    model: Model = "demo",
    seed: Seed = 1,
    table: Table = None,
    save: Save = None,
    batch_size: Batch = 64,
    device: Device = "auto",
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Detectors of memorised prompts: captions of memorised images against those of held-out ones. Needs no images."""
    from imgaudit.benchmark.harness.score_table import read_record, write_lines
    from imgaudit.benchmark.methods.prompt_scores import PromptScoreTable, measure_prompt_scores, prompt_score_report

    if table is not None:
        measured = read_record(PromptScoreTable, table)
    else:
        from imgaudit.benchmark.harness.lab_model import open_lab
        from imgaudit.diffusion.executor import Executor

        lab = open_lab(model, device)
        with stages(quiet=quiet) as on_progress:
            measured = measure_prompt_scores(lab, run_seed=seed, executor=Executor(batch_size), on_progress=on_progress)
    if save is not None:
        write_lines(save, measured, ("rows",))
    report = prompt_score_report(measured)
    show(report, prompt_score_lines(report), json_output=json_output)


def prompt_score_lines(report: "PromptScoreReport") -> Iterator[str]:
    """Separations with their cost, rates, hopes."""
    from imgaudit.cli.benchmark_tables import goal_lines, rate_lines

    yield f"lab {report.lab}, seed {report.seed}, {report.hardware}; nothing fitted"
    if report.left_out:
        yield f"{report.left_out} captions left out: they stand for images of several groups"
    yield ""
    yield "captions of memorised images     against        AUC    95 % interval    n           passes   space"
    for one in report.separations:
        yield (
            f"{one.name:32} {one.against:13} {one.auc:.3f}   {one.low:.3f} to {one.high:.3f}   "
            f"{f'{one.positives} / {one.negatives}':11} {report.evaluations[one.name]:6}   {report.spaces[one.name]}"
        )
    yield ""
    words = [one for one in report.rates if "word" in one.name]
    yield from rate_lines("above all but < 1 % of the held-out", [one for one in report.rates if one not in words])
    yield ""
    yield from rate_lines("words", words)
    yield f"(the word whose removal lowers the score most has the highest weight; by chance {report.chance:.1%})"
    yield from goal_lines(report.targets)

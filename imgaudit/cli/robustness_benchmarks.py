"""`imgaudit benchmark robustness` and `screening`: hostile input, interruptions, damage, and large folders."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgaudit.cli.benchmark_options import Json, Out, Quiet, Save, Seed, Table, show, stages
from imgaudit.cli.terminal import progress

if TYPE_CHECKING:
    from imgaudit.benchmark.robustness.attack import RobustnessReport
    from imgaudit.benchmark.speed.screening import ScreeningReport


def robustness(
    model: Annotated[str, typer.Option("--model", "-m", help="Model to audit: demo, or a diffusers folder.")] = "demo",
    kills: Annotated[int, typer.Option(min=0, help="SIGKILLs at random moments of every stage.")] = 120,
    full_disks: Annotated[int, typer.Option(min=0, help="Audits that run out of disk (needs a superuser).")] = 20,
    damaged_runs: Annotated[
        int, typer.Option("--damaged-runs", "--spoilt", min=0, help="Runs per kind of damage to their records.")
    ] = 5,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Work folder. [default: a temporary one]", show_default=False)
    ] = None,
    seed: Seed = 1,
    table: Table = None,
    save: Save = None,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Hostile images, texts and models, kills, signals, full disks, damaged runs: what was tried and how it ended."""
    from imgaudit.benchmark.harness.score_table import read_record, write_lines
    from imgaudit.benchmark.robustness.attack import RobustnessReport, attack

    if table is not None:
        report = read_record(RobustnessReport, table)
    else:
        from imgaudit.benchmark.harness.lab_model import machine

        with stages(quiet=quiet) as on_progress, tempfile.TemporaryDirectory() as temporary:
            report = attack(
                model, (out or Path(temporary)) / "robustness", seed=seed, kills=kills, full_disks=full_disks,
                damaged_runs=damaged_runs, hardware=machine(), on_progress=on_progress,
            )  # fmt: skip
    if save is not None:
        write_lines(save, report, ("tallies",))
    show(report, robustness_lines(report), json_output=json_output)


def robustness_lines(report: "RobustnessReport") -> Iterator[str]:
    """One kind of case per line, what could not be tried, what should not have happened, hopes."""
    from imgaudit.cli.benchmark_tables import goal_lines

    yield f"model {report.model}, seed {report.seed}, {report.hardware}"
    section = ""
    for tally in report.tallies:
        if tally.section != section:
            section = tally.section
            yield ""
            yield f"{section:44}{'tried':>6}   ended as"
        states = ", ".join(f"{count} {state}" for state, count in tally.states.items())
        wrong = f"   {len(tally.problems)} PROBLEMS" if tally.problems else ""
        yield f"{tally.kind[:43]:44}{tally.tried:6}   {states}{wrong}"
    yield f"{'all':44}{report.tried:6}   {report.ended} ended in one state"
    if report.not_tried:
        yield ""
    for one in report.not_tried:
        yield f"not tried: {one.kind}: {one.reason}"
    for problem in report.problems:
        yield ascii(f"problem: {problem}")[1:-1]
    yield from goal_lines(report.targets)


def screening(
    images: Annotated[list[int], typer.Option("--images", min=100, help="Images of a folder; may be repeated.")] = [  # noqa: B006
        2000,
        20000,
    ],
    side: Annotated[int, typer.Option(min=8, help="Pixels of a side.")] = 512,
    out: Out = Path("imgaudit-benchmark"),
    seed: Seed = 1,
    table: Table = None,
    save: Save = None,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Large folders: reading and near-duplicates in seconds and memory, the first time and in a second audit."""
    from imgaudit.benchmark.harness.score_table import read_record, write_lines
    from imgaudit.benchmark.speed.screening import ScreeningReport, measure_screening

    if table is not None:
        report = read_record(ScreeningReport, table)
    else:
        from imgaudit.benchmark.harness.lab_model import machine

        with progress("making pictures", quiet=quiet) as advance:
            report = measure_screening(
                out / "screening", sorted(images), side=side, seed=seed, hardware=machine(), advance=advance
            )
    if save is not None:
        write_lines(save, report, ("screenings", "targets"))
    show(report, screening_lines(report), json_output=json_output)


def screening_lines(report: "ScreeningReport") -> Iterator[str]:
    """One look per line, hopes."""
    from imgaudit.cli.benchmark_tables import goal_lines

    yield f"JPEGs of {report.side} x {report.side} pixels; {report.hardware}"
    yield ""
    yield f"{'':13}{'images':>8}{'readable':>10}{'groups':>8}{'read, s':>9}{'group, s':>10}{'peak memory, MiB':>18}"
    for one in report.screenings:
        yield (
            f"{one.name:13}{one.images:8}{one.readable:10}{one.groups:8}{one.list_and_hash_seconds:9.1f}"
            f"{one.group_seconds:10.1f}{one.peak_mib:18.0f}"
        )
    yield from goal_lines(report.targets)

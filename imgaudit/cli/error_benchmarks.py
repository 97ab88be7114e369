"""`imgaudit benchmark detection|controls|errors|ladder`: what the audit's verdicts are worth on lab models."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from imgaudit.cli.benchmark_options import (
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
from imgaudit.cli.options import LearningRate, ScoreAfter
from imgaudit.cli.terminal import progress, say
from imgaudit.schema.protocol import TokenSearchConfig

TOKENS = TokenSearchConfig()


def detection(
    model: Model = "demo",
    images: Images = None,
    out: Out = Path("imgaudit-benchmark"),
    effort: Annotated[str, typer.Option(help="quick, standard or thorough; a bundled bank has its own.")] = "quick",
    learning_rate: LearningRate = None,
    score_after: ScoreAfter = None,
    seed: Seed = 1,
    table: Table = None,
    save: Save = None,
    brief: Annotated[bool, typer.Option("--brief", help="Only the goals and whether they were met.")] = False,
    device: Device = "auto",
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Memorised against held-out, seen-once and planted-not-reproduced images of a lab; none of them is in the bank."""
    from imgaudit.benchmark.harness.score_table import ScoreTable
    from imgaudit.benchmark.harness.scoring import measure_scores
    from imgaudit.benchmark.verdicts.detection import detection_report
    from imgaudit.cli.benchmark_tables import detection_lines
    from imgaudit.schema.config import AuditConfig
    from imgaudit.schema.protocol import Effort

    if table is not None:
        scores = ScoreTable.read(table)
    else:
        lab, located = open_corpus(model, images, device)
        protocol = AuditConfig(
            effort=Effort(effort), framing=lab.description.recipe.framing, learning_rate=learning_rate,
            score_after=score_after,
        ).protocol  # fmt: skip
        with stages(quiet=quiet) as on_progress:
            scores = measure_scores(
                lab, located, out, command=sys.argv, protocol=protocol, bank=lab.bank, seed=seed,
                on_progress=on_progress,
            )  # fmt: skip
        say(f"run folder: {out / 'run'}", quiet=quiet)
    if save is not None:
        scores.write(save)
    report = detection_report(scores)
    show(report, detection_lines(report, brief=brief), json_output=json_output)


def controls(
    images: Annotated[Path, typer.Option(help="Folder of images that the lab was not trained on.")],
    note: Annotated[str, typer.Option(help="Where they come from.")],
    save: Annotated[Path, typer.Option(help="File to write the control table to.")],
    like: Annotated[Path, typer.Option(help="Score table whose protocol and lab they meet.")],
    model: Model = "demo",
    count: Annotated[int, typer.Option(min=1, help="How many, in order of SHA-256.")] = 320,
    out: Out = Path("imgaudit-benchmark"),
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Another population of controls for a lab, for `errors --other`."""
    from imgaudit.benchmark.harness.score_table import ScoreTable
    from imgaudit.benchmark.harness.scoring import measure_controls

    lab, located = open_corpus(model, images, device)
    with progress("calibrating", quiet=quiet) as on_progress:
        table = measure_controls(
            lab, located, out, like=ScoreTable.read(like), note=note, count=count, on_progress=on_progress
        )
    table.write(save)
    say(f"{len(table.controls)} controls: {save}", quiet=quiet)


def errors(
    table: Annotated[Path, typer.Option(help="Score table that `benchmark detection --save` wrote.")],
    other: Annotated[
        Path | None, typer.Option(help="Control table of another population, from `benchmark controls`.")
    ] = None,
    seed: Seed = 1,
    json_output: Json = False,
) -> None:
    """Realised false discovery of portfolios drawn from a score table, power, and the bank against fresh images."""
    from imgaudit.benchmark.harness.score_table import ControlTable, ScoreTable
    from imgaudit.benchmark.verdicts.errors import error_report
    from imgaudit.cli.benchmark_tables import error_lines

    report = error_report(ScoreTable.read(table), ControlTable.read(other) if other else None, seed)
    show(report, error_lines(report), json_output=json_output)


def ladder(
    model: Model = "examples/labs/report-a",
    images: Images = None,
    out: Out = Path("imgaudit-benchmark"),
    effort: Annotated[str, typer.Option(help="quick, standard or thorough: all but the rungs.")] = "quick",
    words: Annotated[int, typer.Option(min=1, max=32, help="Words of a searched prompt.")] = TOKENS.words,
    evaluations: Annotated[
        int, typer.Option(min=1, help="Network evaluations of its search per image.")
    ] = TOKENS.evaluations,
    seed: Seed = 1,
    table: Table = None,
    save: Save = None,
    device: Device = "auto",
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Which rung gives images back, with their captions and with captions withheld, against 60 held-out images."""
    from imgaudit.benchmark.harness.score_table import ScoreTable
    from imgaudit.benchmark.harness.scoring import measure_scores
    from imgaudit.benchmark.verdicts.ladder import COUNTS, ladder_protocol, ladder_report
    from imgaudit.cli.benchmark_tables import ladder_lines
    from imgaudit.schema.protocol import Effort, protocol_for

    if table is not None:
        scores = ScoreTable.read(table)
    else:
        lab, located = open_corpus(model, images, device)
        base = protocol_for(Effort(effort), lab.description.recipe.framing)
        with stages(quiet=quiet) as on_progress:
            scores = measure_scores(
                lab, located, out, command=sys.argv, protocol=ladder_protocol(base, words, evaluations),
                seed=seed, counts=COUNTS, on_progress=on_progress,
            )  # fmt: skip
    if save is not None:
        scores.write(save)
    report = ladder_report(scores)
    show(report, ladder_lines(report), json_output=json_output)

"""`imgaudit benchmark templates`: planted templates, logos and composites, found and located."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgaudit.cli.benchmark_options import Json, Quiet, Save, Seed, Table, show, stages

if TYPE_CHECKING:
    from imgaudit.benchmark.copies.templates import TemplateReport


def templates(
    images: Annotated[Path | None, typer.Option(help="Folder of real pictures, such as Debian's openclipart.")] = None,
    pictures: Annotated[int, typer.Option(min=20, help="Pictures in either half.")] = 300,
    related: Annotated[int, typer.Option(min=4, help="Pairs of each kind that share something.")] = 100,
    unrelated: Annotated[int, typer.Option(min=1, help="Pairs of each kind that share nothing.")] = 670,
    fitted: Annotated[int, typer.Option(min=40, help="Pairs of each kind for the thresholds.")] = 400,
    seed: Seed = 1,
    table: Table = None,
    save: Save = None,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Planted templates, logos and composites: are they found at 1 % false positives, and where?"""
    from imgaudit.benchmark.copies.templates import TemplateReport, measure_templates
    from imgaudit.benchmark.harness.score_table import read_record, write_lines

    if table is not None:
        report = read_record(TemplateReport, table)
    elif images is None:
        raise typer.BadParameter("expected --images FOLDER with real pictures, or --table FILE")
    else:
        with stages(quiet=quiet) as on_progress:
            report = measure_templates(
                images,
                pictures=pictures,
                related=related,
                unrelated=unrelated,
                fitted=fitted,
                seed=seed,
                on_progress=on_progress,
            )
    if save is not None:
        write_lines(save, report, ("found", "by_share", "false", "located", "families", "targets"))
    show(report, template_lines(report), json_output=json_output)


def template_lines(report: "TemplateReport") -> Iterator[str]:
    """Thresholds, what is found, what is wrongly found, where regions lie, hopes."""
    from imgaudit.cli.benchmark_tables import goal_lines, rate_lines

    bounds = report.thresholds
    yield (
        f"{report.pictures} pictures in either half, {report.left_out} not used; seed {report.seed}; {report.hardware}"
    )
    yield (
        f"thresholds at {report.level:.0%} from {bounds.pairs} unrelated pairs of the other half: "
        f"geometric {bounds.geometric:.2f}, photometric {bounds.photometric:.2f}"
        + (f"; {bounds.each:.1%} for each leg alone" if bounds.each is not None else "")
    )
    yield f"{report.seconds_per_pair:.2f} s to describe and compare a pair"
    for title, rows in (
        ("related pairs that are found", report.found),
        ("by the share of the area", report.by_share),
        ("unrelated pairs called related", report.false),
        ("one layout in one place", report.families),
    ):
        yield ""
        yield from rate_lines(title, rows)
    yield ""
    yield f"{'overlap (IoU) of the region':41}{'found':>7}{'median':>9}{'lower quartile':>17}   at least 0.7"
    for one in report.located:
        yield f"{one.group:41}{one.found:7}{one.median:9.2f}{one.lower_quartile:17.2f}   {one.well}"
    yield from goal_lines(report.targets)

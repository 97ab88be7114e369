"""`imgaudit benchmark copies`: what every measure finds of pictures that were changed."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgaudit.cli.benchmark_options import Json, Quiet, Save, Seed, Table, show, stages
from imgaudit.exceptions import InputError

if TYPE_CHECKING:
    from imgaudit.benchmark.copies.recall import CopiesReport, Decider, Recall


def copies(
    images: Annotated[list[Path] | None, typer.Option(help="Folder of different pictures; may be repeated.")] = None,
    pictures: Annotated[int, typer.Option(min=4, help="Originals in either half.")] = 60,
    slow: Annotated[bool, typer.Option("--slow", help="With imagehash's crop-resistant hash.")] = False,
    seed: Seed = 1,
    table: Table = None,
    save: Save = None,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Recall of changed copies at 1 % false positives, beside imagehash and imagededup on the same files."""
    from imgaudit.benchmark.copies.recall import CopiesReport, measure_copies
    from imgaudit.benchmark.harness.lab_model import machine
    from imgaudit.io.writing import read_json, write_json

    if table is not None:
        report = CopiesReport.model_validate(read_json(table))
    else:
        if not images:
            raise InputError("name at least one folder of pictures with --images")
        with stages(quiet=quiet) as on_progress:
            report = measure_copies(
                images, pictures=pictures, seed=seed, hardware=machine(), slow=slow, on_progress=on_progress
            )
    if save is not None:
        write_json(save, report.model_dump(mode="json"))
    show(report, copies_lines(report), json_output=json_output)


def copies_lines(report: "CopiesReport") -> Iterator[str]:
    """A line per way to decide, then per transformation, what was skipped, hopes."""
    from imgaudit.cli.benchmark_tables import goal_lines

    yield (
        f"{report.pictures} pictures of {', '.join(report.folders)} for thresholds and {report.pictures} others for "
        f"the figures, seed {report.seed}, {report.hardware}"
    )
    yield (
        f"thresholds at {report.level:.0%} false positives; 95 % intervals, bootstrap over pictures, whose copies and "
        "strangers stand and fall together"
    )
    yield ""
    yield f"{'':28}{'false positives':>24}{'copies found':>24}{f'at {report.level:.0%} of these strangers':>27}"
    for one in report.deciders:
        yield (f"{one.name:28}{_share(one.false_positives):>24}{_share(one.overall):>24}{_share(one.matched):>27}")
    others = [one for one in report.deciders if one.name.startswith("image")]
    chosen = [one for one in report.deciders if "leg" not in one.name and one not in others]
    yield ""
    each = report.deciders[0].by_transformation[0].n if report.deciders else 0
    yield f"copies found at {report.level:.0%} of these strangers, by strength and by what was done ({each} of each)"
    yield f"{'':14}" + "".join(f"{one.name.replace('verified ', ''):>19}" for one in chosen) + f"{'best of others':>19}"
    for number, kind in enumerate(_kinds(report.deciders[0]) if report.deciders else []):
        best = max((_kinds(one)[number].found for one in others), default=0.0)
        own = [_kinds(one)[number].found for one in chosen]
        behind = "  behind" if best > max(own) else ""
        yield f"{kind.of:14}" + "".join(f"{share:19.1%}" for share in own) + f"{best:19.1%}{behind}"
    for name, skipped in report.skipped.items():
        yield f"skipped: {name}: {skipped.skipped}"
    yield from goal_lines(report.targets)


def _share(recall: "Recall") -> str:
    return f"{recall.found:.1%} ({recall.low:.1%} to {recall.high:.1%})"


def _kinds(decider: "Decider") -> "list[Recall]":
    return [*decider.by_strength, *decider.by_transformation]

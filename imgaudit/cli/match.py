"""`imgaudit match`: images that a hosted model made, against a portfolio."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from imgaudit.cli.exit_codes import ExitCode
from imgaudit.cli.folders import read_folder
from imgaudit.cli.interruption import Interruption
from imgaudit.cli.options import Offline, Quiet
from imgaudit.cli.terminal import number, plain, progress, say
from imgaudit.io.offline import go_offline
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.records import Skipped

if TYPE_CHECKING:
    from imgaudit.runs.match import Sightings

STYLES = {"copy": "bold red", "partial": "red", "inconclusive": "yellow", "not seen": ""}

PACKAGES = ("imgaudit", "opencv-python-headless", "numpy")
"""What scores depend on."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="match")(_match)


def _match(
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help="Folder of images that a model made.")],
    targets: Annotated[Path, typer.Argument(metavar="TARGETS", help="Folder of the portfolio.")],
    decoys: Annotated[
        Path | None,
        typer.Option(help="Folder of pictures like the portfolio's that nobody asked for.", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder; an interrupted search goes on in it.")] = Path(
        "imgaudit-match"
    ),
    level: Annotated[float, typer.Option(min=0.0001, max=0.5, help="False discovery rate.")] = 0.05,
    fail_on: Annotated[str, typer.Option(help="copy, partial or never: what makes the exit code 1.")] = "partial",
    offline: Offline = None,
    json_output: Annotated[bool, typer.Option("--json", help="One JSON line per target, then the rest.")] = False,
    quiet: Quiet = False,
) -> None:
    """Look for every image of a portfolio, or part of it, among images that were already made."""
    from importlib import metadata

    from imgaudit.exceptions import InputError
    from imgaudit.io.captions import CaptionSource
    from imgaudit.io.writing import write_json
    from imgaudit.report.match import write_match
    from imgaudit.runs.match import look_for_targets

    if fail_on not in ("copy", "partial", "never"):
        raise InputError(f"--fail-on must be copy, partial or never, but got {fail_on!r:.80}")
    if offline:
        go_offline()
    config = AuditConfig()
    portfolios = [
        read_folder(folder, CaptionSource(folder, sidecars=False), config, quiet=quiet)
        for folder in (images, targets, *([decoys] if decoys else []))
    ]
    made, asked = portfolios[:2]
    for name, portfolio in (("IMAGES", made), ("TARGETS", asked)):
        if not portfolio.targets:
            raise InputError(f"{name} has no image that can be read; {len(portfolio.skipped)} files were skipped")
    out.mkdir(parents=True, exist_ok=True)
    run = RunFolder(out)
    with Interruption().listening() as interruption, run.lock(), progress("comparing", quiet=quiet) as advance:
        found = look_for_targets(
            run, made, asked, portfolios[2] if decoys else None, folder=images.resolve().name, level=level,
            versions={name: metadata.version(name) for name in PACKAGES}, on_progress=interruption.stopping(advance),
        )  # fmt: skip
        write_json(out / "match.json", found.model_dump(mode="json"))
        files = {target.image.id: target.path for target in [*made.targets, *asked.targets]}
        page = write_match(out, found, files)
    if json_output:
        for sighting in found.sightings:
            typer.echo(sighting.model_dump_json())
        typer.echo(json.dumps(found.model_dump(mode="json", exclude={"sightings"})))
    else:
        _print(found)
    say(f"report: {page}", quiet=quiet)
    raise typer.Exit(_exit_code(found, fail_on))


def _exit_code(found: "Sightings", fail_on: str) -> ExitCode:
    failing = {"copy": ("copy",), "partial": ("copy", "partial"), "never": ()}[fail_on]
    if any(one.seen in failing for one in found.sightings):
        return ExitCode.REPRODUCED
    undecided = found.skipped or any(
        one.seen == "inconclusive" or isinstance(one.closest, Skipped) for one in found.sightings
    )
    return ExitCode.INCOMPLETE if undecided else ExitCode.DECIDED


def _print(found: "Sightings") -> None:
    """A line per target, those that were seen first."""
    order = list(STYLES)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("seen", "target", "p", "q", "of it", "images", "closest image"):
        table.add_column(heading, overflow="fold")
    for one in sorted(found.sightings, key=lambda sighting: (order.index(sighting.seen), sighting.path)):
        closest = one.closest
        area = "-" if isinstance(closest, Skipped) else f"{closest.evidence.region.area:.0%}"
        table.add_row(
            Text(one.seen, style=STYLES[one.seen]),
            plain(one.path.replace("\\", "/").rsplit("/", 1)[-1]),
            number(one.p_value), number(one.q_value), area, str(one.images),
            plain("-" if isinstance(closest, Skipped) else closest.path.replace("\\", "/").rsplit("/", 1)[-1]),
        )  # fmt: skip
    console = Console(highlight=False)
    console.print(table)
    console.print()
    console.print(
        plain(
            f"{len(found.sightings)} targets in {found.images} images: "
            + ", ".join(f"{found.count(seen)} {seen}" for seen in STYLES if found.count(seen))  # type: ignore[arg-type]
            + f"; {found.decoys} decoys, level {found.level:g}"
        )
    )
    if isinstance(found.thresholds, Skipped):
        console.print(plain(f"no conclusion: {found.thresholds.skipped}; give a folder of them with --decoys"))
    for left_out in found.skipped:
        console.print(plain(f"skipped: {left_out.path}: {left_out.skipped}"))

"""`imgaudit match`: images of a portfolio, looked for among images that a hosted model made."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from imgaudit.cli.exit_codes import ExitCode
from imgaudit.cli.folders import read_folder
from imgaudit.cli.interruption import Interruption
from imgaudit.cli.names import Name, shorten_middle
from imgaudit.cli.options import Json, Offline, Out, Quiet
from imgaudit.cli.paths import require_folder
from imgaudit.cli.signatures import Heading, argument, option, takes_records
from imgaudit.cli.terminal import format_number, make_table, print_wrapped, progress, say
from imgaudit.io.offline import go_offline
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.records import Skipped
from imgaudit.schema.text import file_name

if TYPE_CHECKING:
    from imgaudit.schema.match import MatchResult

STYLES = {"copy": "bold red", "partial": "red", "inconclusive": "yellow", "not seen": ""}


def register(app: typer.Typer, heading: str) -> None:
    """Add the command."""
    app.command(name="match", rich_help_panel=heading)(takes_records(_match))


def _match(
    images: Annotated[Path, argument("IMAGES", help="Folder of images that a model made.", callback=require_folder)],
    targets: Annotated[Path, argument("TARGETS", help="Folder of your images, to look for among them.",
        callback=require_folder)],
    decoys: Annotated[Path | None, option(Heading.CONTROLS, "Other images like yours, which "
        "the model was not asked for: they show how close images get by chance. Without them nothing can be concluded.",
        metavar="FOLDER", callback=require_folder)] = None,
    level: Annotated[float, option(Heading.CONTROLS, "False discovery rate: share of false alarms to accept among the "
        "images found.", metavar="RATE", min=0.0001, max=0.5)] = 0.05,
    out: Out = Path("imgaudit-match"),
    fail_on: Annotated[str, option(Heading.OUTPUT, "For scripts: exit with code 1 for copy, or for partial (a copy "
        "counts too); or never: exit with code 0 whatever was found.", metavar="WHAT")] = "partial",
    offline: Offline = False,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Look for your images, or parts of them, among images that a model has already made."""
    from importlib import metadata

    from imgaudit.exceptions import InputError
    from imgaudit.report.match import write_match
    from imgaudit.runs.match import PACKAGES, MatchInputs, match_images

    if fail_on not in ("copy", "partial", "never"):
        raise InputError(f"--fail-on must be copy, partial or never, but got {fail_on!r:.80}")
    if offline:
        go_offline()
    config = AuditConfig()
    portfolios = [
        read_folder(folder, config, sidecars=False, quiet=quiet)
        for folder in (images, targets, *([decoys] if decoys else []))
    ]
    made, asked = portfolios[:2]
    for name, portfolio in (("IMAGES", made), ("TARGETS", asked)):
        if not portfolio.targets:
            raise InputError(f"{name} has no image that can be read; {len(portfolio.skipped)} files were skipped")
    out.mkdir(parents=True, exist_ok=True)
    run = RunFolder(out)
    with Interruption().listening() as interruption, run.lock(), progress("comparing", quiet=quiet) as advance:
        inputs = MatchInputs(
            made, asked, portfolios[2] if decoys else None, images.resolve().name, level,
            {name: metadata.version(name) for name in PACKAGES},
        )  # fmt: skip
        found = match_images(run, inputs, on_progress=interruption.stopping(advance))
        files = {target.image.id: target.path for target in [*made.targets, *asked.targets]}
        page = write_match(out, found, files)
    if json_output:
        for one in found.targets:
            typer.echo(one.model_dump_json())
        typer.echo(json.dumps(found.model_dump(mode="json", exclude={"targets"})))
    else:
        _print(found)
    say("report:", str(page), quiet=quiet)
    raise typer.Exit(_exit_code(found, fail_on))


def _exit_code(found: "MatchResult", fail_on: str) -> ExitCode:
    if fail_on == "never":
        return ExitCode.DECIDED
    failing = {"copy": ("copy",), "partial": ("copy", "partial")}[fail_on]
    if any(one.seen in failing for one in found.targets):
        return ExitCode.REPRODUCED
    undecided = found.skipped or any(
        one.seen == "inconclusive" or isinstance(one.closest, Skipped) for one in found.targets
    )
    return ExitCode.INCOMPLETE if undecided else ExitCode.DECIDED


def _print(found: "MatchResult") -> None:
    """A line per target, those that were seen first."""
    order = list(STYLES)
    table = make_table("seen", "target", "p", "q", "of it", "images", "closest image")
    for one in sorted(found.targets, key=lambda one: (order.index(one.seen), one.path)):
        closest = one.closest
        area = "-" if isinstance(closest, Skipped) else f"{closest.evidence.region.area:.0%}"
        # Pictures that are alike as a whole may have no part in which local features agree.
        area = "whole" if one.by == "whole" and one.images else area
        table.add_row(
            Text(one.seen, style=STYLES[one.seen]),
            Name(one.path),
            format_number(one.p_value), format_number(one.q_value), area, str(one.images),
            "-" if isinstance(closest, Skipped) else Name(closest.path),
        )  # fmt: skip
    console = Console(highlight=False)
    console.print(table)
    console.print()
    print_wrapped(
        f"{len(found.targets)} targets in {found.images} images: "
        + ", ".join(f"{found.count(seen)} {seen}" for seen in STYLES if found.count(seen))  # type: ignore[arg-type]
        + f"; {found.decoys} decoys, level {found.level:g}"
    )
    if isinstance(found.thresholds, Skipped):
        print_wrapped(f"no conclusion: {found.thresholds.skipped}; give a folder of them with --decoys")
    for left_out in found.skipped:
        name = shorten_middle(file_name(left_out.path), 40)
        print_wrapped(f"skipped: {name}: {left_out.skipped}")

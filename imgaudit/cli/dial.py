"""`imgaudit dial`: the fewest bits of an embedding that still reproduce an image."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from imgaudit.cli.model_choice import PlainModel
from imgaudit.cli.names import shorten_middle
from imgaudit.cli.options import Batch, Device, Quiet, Run
from imgaudit.cli.signatures import Heading, option, takes_records
from imgaudit.cli.terminal import progress
from imgaudit.exceptions import InputError


def register(app: typer.Typer, heading: str) -> None:
    """Add the command."""
    app.command(name="dial", rich_help_panel=heading)(takes_records(_dial))


def _dial(
    run: Run,
    model: PlainModel,
    seeds: Annotated[int, option(Heading.BUDGET, "Images generated for each setting.", min=1)] = 8,
    batch_size: Batch = 64,
    device: Device = None,
    quiet: Quiet = False,
) -> None:
    """Find the fewest bits of an embedding that still return an image: the fewer, the more comes from the model."""
    from imgaudit.diffusion.executor import Executor
    from imgaudit.report import finish_run
    from imgaudit.runs.dial import standing_embedding, turn_dial
    from imgaudit.runs.finished import read_finished_run
    from imgaudit.runs.folder import RunFolder
    from imgaudit.runs.history import Invocation

    folder = RunFolder(run)
    if not folder.report_path.is_file():
        raise InputError(f"{str(run)!r} is not a finished run: it has no report.json")
    # Somebody else may have made the run: the pictures that its report names are shown on the pages.
    result = read_finished_run(run).result
    total = sum(standing_embedding(finding) is not None for finding in result.findings)
    loaded = model.load(device)
    typer.echo(f"{'image':16} {'whole':>7} {'bits':>8} {'fewest':>8} {'rank x bits':>12} {'copies':>7}   as PNG")
    with (
        folder.lock(),
        Invocation(folder, "dial", sys.argv) as invocation,
        progress("dialling", quiet=quiet) as on_progress,
    ):
        invocation.start()
        dials = turn_dial(folder, result, loaded.denoiser, seeds=seeds, executor=Executor(batch_size))
        for done, (finding, dial) in enumerate(dials, start=1):
            on_progress(done, total)
            invocation.changes["images_dialled"] = done
            few, name = dial.fewest, shorten_middle(ascii(Path(finding.path).name)[1:-1], 16)
            start = f"{name:16} {f'{dial.whole.hits}/{dial.whole.n}':>7} {dial.whole.bits:8,}"
            if few is None:
                typer.echo(f"{start} {'more':>8} {'-':>12} {'-':>7}   {dial.image_bits:,} bits")
            else:
                setting = f"{few.rank} x {few.precision}"
                typer.echo(f"{start} {few.bits:8,} {setting:>12} {f'{few.hits}/{few.n}':>7}   {dial.image_bits:,} bits")
        finish_run(folder, result, invocation)
    if not total:
        typer.echo("no image of this run was reproduced by its embedding")

"""`imgaudit dial`: the fewest bits of an embedding that still reproduce an image."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgaudit.cli.model_choice import PlainModel
from imgaudit.cli.names import shorten_middle
from imgaudit.cli.options import Batch, Device, Quiet, Run
from imgaudit.cli.signatures import Heading, option, takes_records
from imgaudit.cli.terminal import progress
from imgaudit.exceptions import InputError

if TYPE_CHECKING:
    from imgaudit.schema.dial import Dial


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
    typer.echo(_line("image", "whole", "bits", "fewest", "rank x bits", "copies", "bits as PNG"))
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
            typer.echo(_row(finding.path, dial))
        finish_run(folder, result, invocation)
    if not total:
        typer.echo("no image of this run was reproduced by its embedding")


def _row(path: str, dial: "Dial") -> str:
    """Return what was found of one image as a line of the table."""
    few, name = dial.fewest, shorten_middle(ascii(Path(path).name)[1:-1], 16)
    fewest = ("more", "-", "-") if few is None else (
        f"{few.bits:,}", f"{few.rank} x {few.precision}", f"{few.hits}/{few.n}",
    )  # fmt: skip
    return _line(name, f"{dial.whole.hits}/{dial.whole.n}", f"{dial.whole.bits:,}", *fewest, f"{dial.image_bits:,}")


def _line(name: str, *cells: str) -> str:
    """Return a line of 80 columns at most; the embeddings of large models have tens of millions of bits."""
    widths = (7, 10, 10, 11, 7, 11)
    return " ".join([f"{name:16}", *(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))])

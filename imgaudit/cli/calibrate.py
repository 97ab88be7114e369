"""`imgaudit calibrate`: a null bank of controls, made or added to."""

from pathlib import Path
from typing import Annotated

import typer

from imgaudit.cli.batch_size import settled
from imgaudit.cli.folders import read_folder
from imgaudit.cli.interruption import Interruption
from imgaudit.cli.model_choice import ModelChoice
from imgaudit.cli.options import MeasuringOptions, Quiet
from imgaudit.cli.signatures import Heading, argument, flag, option, takes_records
from imgaudit.cli.terminal import progress, say
from imgaudit.io.offline import go_offline
from imgaudit.runs.folder import RunFolder


def register(app: typer.Typer, heading: str) -> None:
    """Add the command."""
    app.command(name="calibrate", rich_help_panel=heading)(takes_records(_calibrate))


def _calibrate(
    controls: Annotated[Path, argument("CONTROLS", help="Folder of images known not to be in the training set.")],
    model: ModelChoice,
    options: MeasuringOptions,
    out: Annotated[
        Path, option("--out", "-o", metavar="FILE", heading=Heading.OUTPUT, help="File to write the null bank to.")
    ] = Path("calibration.json"),
    note: Annotated[
        str,
        option(
            metavar="TEXT",
            heading=Heading.CONTROLS,
            default="the name of the folder",
            help="Why these images cannot be in the training set; recorded in the bank.",
        ),
    ] = "",
    append: Annotated[
        bool, flag("--append", heading=Heading.OUTPUT, help="Add to the bank that --out names, if there is one.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Measure images known not to be in the training set, and keep their scores as a null bank for audits."""
    from imgaudit.decision.null_bank import NullBank
    from imgaudit.diffusion.generation import require_steps
    from imgaudit.diffusion.inversion import require_streams
    from imgaudit.io.captions import CaptionSource
    from imgaudit.runs.calibration import measure_bank

    config, sources = options.resolve()
    if config.offline:
        go_offline()
    portfolio = read_folder(controls, CaptionSource(controls), config, quiet=quiet)
    for skipped in portfolio.skipped:
        say(f"left out: {skipped.path}: {skipped.skipped}", quiet=quiet)
    loaded = model.load(config.device)
    require_streams(loaded.denoiser, config.streams)
    require_steps(loaded.denoiser, config.protocol.generation.num_inference_steps)
    earlier = NullBank.read(out) if append and out.is_file() else None
    if earlier is not None:
        earlier.require(loaded.denoiser.fingerprint, config.protocol)

    def write(bank: NullBank) -> None:
        (bank if earlier is None else earlier.merge(bank)).write(out)

    work = out.with_name(out.name + ".work")
    config, _ = settled(config, sources, loaded, RunFolder(work), quiet=quiet)
    with Interruption().listening() as interruption, progress("calibrating", quiet=quiet) as advance:
        measure_bank(
            work,
            portfolio,
            loaded,
            config,
            note=note or f"folder {controls}",
            on_bank=write,
            on_progress=interruption.stopping(advance),
        )
    made = NullBank.read(out)
    typer.echo(f"{len(made.controls)} controls, {len(made.kept_out)} more kept out of the bank -> {out}")

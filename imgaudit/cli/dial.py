"""`imgaudit dial`: how few numbers of an embedding still bring an image back."""

from pathlib import Path
from typing import Annotated

import typer

from imgaudit.cli.benchmark_options import Batch
from imgaudit.cli.model_choice import ModelChoice
from imgaudit.cli.options import Compiled, Device, Loras, Model, ModelConfig, Offload, Quiet, Variant
from imgaudit.cli.terminal import progress
from imgaudit.exceptions import InputError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="dial")(_dial)


def _dial(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of a finished audit.")],
    model: Model,
    lora: Loras = None,
    variant: Variant = None,
    model_config: ModelConfig = None,
    offload: Offload = "none",
    compiled: Compiled = False,
    seeds: Annotated[int, typer.Option(min=1, help="Images generated for each setting.")] = 8,
    batch_size: Batch = 64,
    device: Device = None,
    quiet: Quiet = False,
) -> None:
    """Cut the embeddings of images that came out down to fewer and fewer bits, and see from when on they come out."""
    from imgaudit.diffusion.executor import Executor
    from imgaudit.io.writing import read_json
    from imgaudit.report import write_report
    from imgaudit.runs.dial import standing_embedding, turn_dial
    from imgaudit.runs.folder import RunFolder
    from imgaudit.schema.findings import AuditResult

    folder = RunFolder(run)
    if not folder.report_path.is_file():
        raise InputError(f"{str(run)!r} is not a finished run: it has no report.json")
    result = AuditResult.model_validate(read_json(folder.report_path))
    total = sum(standing_embedding(finding) is not None for finding in result.findings)
    loaded = ModelChoice(model, lora or (), variant, model_config, offload, compiled).load(device or "auto")
    typer.echo(f"{'image':32} {'whole':>7} {'bits':>8} {'fewest':>8} {'rank x bits':>12} {'copies':>7}   as PNG")
    with folder.lock(), progress("dialling", quiet=quiet) as on_progress:
        dials = turn_dial(folder, result, loaded.denoiser, seeds=seeds, executor=Executor(batch_size))
        for done, (finding, dial) in enumerate(dials, start=1):
            on_progress(done, total)
            few, name = dial.fewest, ascii(Path(finding.path).name)[1:-1][:32]
            start = f"{name:32} {f'{dial.whole.hits}/{dial.whole.n}':>7} {dial.whole.bits:8,}"
            if few is None:
                typer.echo(f"{start} {'more':>8} {'-':>12} {'-':>7}   {dial.image_bits:,} bits")
            else:
                setting = f"{few.rank} x {few.precision}"
                typer.echo(f"{start} {few.bits:8,} {setting:>12} {f'{few.hits}/{few.n}':>7}   {dial.image_bits:,} bits")
        folder.write_evidence()
        write_report(folder, result)
    if not total:
        typer.echo("no image of this run came out under its embedding")

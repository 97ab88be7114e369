"""`imgaudit benchmark compile`: what `--compile` gains and costs."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from imgaudit.cli.benchmark_options import Batch, Device, Json, Quiet, Save, Table, show
from imgaudit.cli.terminal import progress

if TYPE_CHECKING:
    from imgaudit.benchmark.speed.compilation import CompileReport


def compile_command(
    model: Annotated[str, typer.Option("--model", "-m", help="Any model that can be audited.")] = "demo",
    table: Table = None,
    save: Save = None,
    batch_size: Batch = 32,
    device: Device = "auto",
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """The same passes with and without compiled blocks, in turns, and the wait before the first."""
    from imgaudit.benchmark.harness.lab_model import hardware
    from imgaudit.benchmark.speed.compilation import CompileReport, measure_compilation
    from imgaudit.io.writing import read_json, write_json

    if table is not None:
        report = CompileReport.model_validate(read_json(table))
    else:
        with progress("timing", quiet=quiet) as on_progress:
            report = measure_compilation(
                model, device=device, batch_size=batch_size, hardware=hardware, on_progress=on_progress
            )
    if save is not None:
        write_json(save, report.model_dump(mode="json"))
    show(report, compile_lines(report), json_output=json_output)


def compile_lines(report: "CompileReport") -> Iterator[str]:
    """One kind of pass per line."""
    yield f"{report.model}, batch {report.batch_size}, {report.hardware}, torch {report.torch}"
    yield f"medians of {report.pairs} pairs, 95 % interval of the gain; {report.wait_seconds:.0f} s to compile"
    yield ""
    yield f"{'':28}{'plain ms':>10}{'compiled ms':>13}{'gain':>7}"
    for one in report.passes:
        yield (
            f"{one.name:28}{1000 * one.plain_seconds:10.1f}{1000 * one.compiled_seconds:13.1f}{one.gain:7.2f}"
            f"  ({one.low:.2f} to {one.high:.2f})"
        )

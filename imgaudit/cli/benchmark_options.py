"""Options that the benchmark commands share, and what they all do: open a lab, show progress, print a report."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgaudit.cli.terminal import progress, say

if TYPE_CHECKING:
    from imgaudit.benchmark.harness.lab_model import LabModel

Model = Annotated[str, typer.Option("--model", "-m", help="Bundled lab, or a folder that `lab train` wrote.")]
Images = Annotated[Path | None, typer.Option(help="The lab's corpus; bundled labs bring their images.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Work folder; an interrupted benchmark continues from it.")]
Table = Annotated[Path | None, typer.Option(help="Redo the statistics of a committed table; needs no model.")]
Save = Annotated[Path | None, typer.Option(help="Write the table here, to be committed with the lab.")]
Seed = Annotated[int, typer.Option(help="Run seed.")]
Device = Annotated[str, typer.Option(help="auto, cpu, mps, cuda or cuda:N.")]
Json = Annotated[bool, typer.Option("--json", help="The report as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Batch = Annotated[int, typer.Option(help="Largest batch given to the network at once.")]


def open_corpus(model: str, images: Path | None, device: str) -> "tuple[LabModel, dict[str, Path]]":
    """A lab and where its images lie, by content."""
    from imgaudit.benchmark.harness.cases import locate
    from imgaudit.benchmark.harness.lab_model import open_lab

    lab = open_lab(model, device)
    return lab, locate(images or lab.folder / "benchmark")


@contextmanager
def stages(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Progress over several stages, each named as it begins."""
    with progress("benchmarking", quiet=quiet) as advance:
        named = [""]

        def on_progress(stage: str, done: int, total: int) -> None:
            if stage != named[0]:
                named[0] = stage
                say(stage, quiet=quiet)
            advance(done, total)

        yield on_progress


def show(report: Any, lines: Iterator[str], *, json_output: bool) -> None:
    """Print a report as JSON or as its lines."""
    if json_output:
        typer.echo(report.model_dump_json(indent=2))
    else:
        for line in lines:
            typer.echo(line)

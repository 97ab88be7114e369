"""`imgaudit benchmark`: every registered benchmark is a command, whose options are the fields of its settings."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_json

from imgaudit.benchmark.registry import BENCHMARKS, Benchmark
from imgaudit.benchmark.settings import Positional, Tabled, WithFolder
from imgaudit.cli.terminal import progress, say

OTHER_NAMES = {"model": ["-m"], "out": ["-o"], "damaged_runs": ["--spoilt"]}
"""Further names of options: short ones, and what an option was called before."""

Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]


def register(app: typer.Typer, heading: str) -> None:
    """Add the group, with a command for every benchmark."""
    group = typer.Typer(
        help="Measure the tool's own error rates and speed, with n, interval and seed.", no_args_is_help=True
    )
    for one in BENCHMARKS:
        group.command(name=one.name, help=one.summary)(_make_command(one))
    app.add_typer(group, name="benchmark", rich_help_panel=heading)


def _make_command(benchmark: Benchmark) -> Callable[..., None]:
    def run(*, json_output: bool, quiet: bool, **values: object) -> None:
        _run(benchmark, values, json_output=json_output, quiet=quiet)

    # typer reads names, types, defaults and help of the options from here.
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)
        for name, annotation in (("json_output", Json), ("quiet", Quiet))
    ]
    own = [_make_parameter(name, field) for name, field in benchmark.settings.model_fields.items()]
    run.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in (*own, *shared)}
    return run


def _make_parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    """Make a command's parameter of a field: its description is the help, its bounds are the option's."""
    bounds = {
        option: getattr(limit, attribute)
        for limit in field.metadata
        for option, attribute in (("min", "ge"), ("max", "le"))
        if hasattr(limit, attribute)
    }
    described: dict[str, Any] = {"help": field.description, **bounds}
    default = inspect.Parameter.empty if field.is_required() else field.default
    option: object
    if positional := next((one for one in field.metadata if isinstance(one, Positional)), None):
        option = typer.Argument(metavar=positional.metavar, **described)
    else:
        names = [f"--{name.replace('_', '-')}", *OTHER_NAMES.get(name, [])]
        option = typer.Option(*names, show_default=default not in (None, []), **described)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[field.annotation, option]
    )


def _run(benchmark: Benchmark, values: dict[str, object], *, json_output: bool, quiet: bool) -> None:
    """Read or measure a table, save it if that was asked for, and print its report."""
    settings = benchmark.settings.model_validate(values)
    procedure = benchmark.load()
    if isinstance(settings, Tabled) and settings.table is not None:
        table = procedure.read(settings.table)
    else:
        with _show_stages(quiet=quiet) as on_stage:
            table = procedure.measure(settings, on_stage)
        if isinstance(settings, WithFolder):
            say(f"work folder: {settings.out}", quiet=quiet)
    if isinstance(settings, Tabled) and settings.save is not None:
        procedure.write(table, settings.save)
    report = procedure.report(table, settings)
    if json_output:
        typer.echo(report.model_dump_json(indent=2) if isinstance(report, BaseModel) else to_json(report, indent=2))
        return
    for line in procedure.lines(report, settings):
        typer.echo(line)


@contextmanager
def _show_stages(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Show progress over several stages, each named as it begins."""
    with progress("benchmarking", quiet=quiet) as advance:
        named = ""

        def on_stage(stage: str, done: int, total: int) -> None:
            nonlocal named
            if stage != named:
                named = stage
                say(stage, quiet=quiet)
            advance(done, total)

        yield on_stage

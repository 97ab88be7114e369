"""`imgaudit benchmark`: every registered benchmark is a command, whose options are the fields of its settings."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_json

from imgaudit.benchmark.registry import BENCHMARKS, Benchmark
from imgaudit.benchmark.settings import Positional, Tabled, WithFolder
from imgaudit.cli.options import JsonReport, Quiet
from imgaudit.cli.paths import require_file, require_folder, require_new_file, require_new_folder, require_present
from imgaudit.cli.signatures import Heading, argument, option, takes_records
from imgaudit.cli.terminal import progress, say

OTHER_NAMES = {"model": ["-m"], "out": ["-o"], "damaged_runs": ["--spoilt"]}
"""Further names of options: short ones, and what an option was called before."""

HEADINGS = {
    Heading.SUBJECT: ("model", "images"),
    Heading.INPUT: ("table", "other", "like", "clip", "run"),
    Heading.EXPERT: ("seed", "learning_rate", "score_after"),
    Heading.OUTPUT: ("out", "save", "brief", "append", "note"),
    Heading.MACHINE: ("device", "batch_size", "threads", "processes"),
}
"""The heading of each option; those that are not named here say how much is measured, and how."""

METAVARS = {
    "model": "MODEL",
    "run": "RUN",
    "images": "FOLDER",
    "out": "FOLDER",
    "clip": "FOLDER",
    "note": "TEXT",
    "sizes": "N,...",
}
"""Placeholders that help shows for the value of an option, where it is neither a number, a file nor a name."""


CHECKS = {"out": require_new_folder, "save": require_new_file, "run": require_present, "table": require_present}
"""How paths are checked by name; others are folders or files to read, as their placeholder says."""


def register(app: typer.Typer, heading: str) -> None:
    """Add the group, with a command for every benchmark."""
    group = typer.Typer(
        help="Measure how often imgaudit itself is wrong, and how fast it is. For developers and experts.",
        no_args_is_help=True,
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
        for name, annotation in (("json_output", JsonReport), ("quiet", Quiet))
    ]
    own = [_make_parameter(name, field) for name, field in benchmark.settings.model_fields.items()]
    run.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
    return takes_records(run)


def _make_parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    """Make a command's parameter of a field: its description is the help, its bounds are the option's.

    A description that ends with "; by default X." names the value that None has measured.
    """
    settings: dict[str, Any] = {
        bound: getattr(limit, attribute)
        for limit in field.metadata
        for bound, attribute in (("min", "ge"), ("max", "le"))
        if hasattr(limit, attribute)
    }
    text, _, named = (field.description or "").removesuffix(".").partition("; by default ")
    kinds = (field.annotation, *get_args(field.annotation))
    if not {int, float} & set(kinds):
        flag = field.annotation is bool
        settings["metavar"] = "" if flag else METAVARS.get(name, "FILE" if Path in kinds else "NAME")
        named = named or ("off" if flag else "")
        if any(Path in (kind, *get_args(kind)) for kind in kinds):
            usual = require_folder if settings["metavar"] == "FOLDER" else require_file
            settings["callback"] = CHECKS.get(name, usual)
    described: object
    if positional := next((one for one in field.metadata if isinstance(one, Positional)), None):
        described = argument(positional.metavar, help=f"{text}.")
    else:
        heading = next((one for one, options in HEADINGS.items() if name in options), Heading.BUDGET)
        names = [f"--{name.replace('_', '-')}", *OTHER_NAMES.get(name, [])]
        described = option(
            heading, f"{text}.", *names, default=named or ("none" if field.default == [] else None), **settings
        )
    default = inspect.Parameter.empty if field.is_required() else field.default
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[field.annotation, described]
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
            say("work folder:", str(settings.out), quiet=quiet)
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

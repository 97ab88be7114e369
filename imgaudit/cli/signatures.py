"""How a command's options are written: one line each under a heading, or in a record that several commands share."""

import functools
import inspect
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import StrEnum
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import typer
from rich.markup import escape
from typer.models import OptionInfo

from imgaudit.exceptions import ConfigError

R = TypeVar("R")


class Heading(StrEnum):
    """The headings under which help lists options, in this order."""

    SUBJECT = "What is audited"
    INPUT = "Input"
    MODEL = "Model"
    METHOD = "Method"
    CONTROLS = "Controls"
    BUDGET = "Budget"
    OUTPUT = "Output"
    MACHINE = "Machine"
    EXPERT = "Expert"


@dataclass(frozen=True)
class Take:
    """Fields of a record that a command takes, and the heading they stand under; written beside the record's type."""

    only: tuple[str, ...] = ()
    """Names of the fields; all when empty."""
    without: tuple[str, ...] = ()
    """Names of fields that the command does not take; they keep their defaults."""
    heading: Heading | None = None
    """A heading for all of them, in place of their own."""
    optional: tuple[str, ...] = ()
    """Names of required fields of text that this command can do without; they are then empty."""


def option(heading: Heading, help: str, *names: str, default: object = None, **settings: Any) -> OptionInfo:
    """Describe one option, for `Annotated`.

    help:      a sentence, in plain text: brackets are shown as they are
    names:     such as "--out", "-o"; the parameter's own where none is given
    default:   what help says of the default, where typer cannot see it; "none" where there is none
    settings:  as `typer.Option` takes them; `callback` checks the value while the command line is read

    `takes_records` fills in what follows from the type and the default of a command's own parameters: metavar "N" for
    whole numbers and "X" for others, and the default "none" for None and for an empty text.
    """
    if default is not None:
        settings["show_default"] = False
    described: OptionInfo = typer.Option(
        *names, help=describe(help, default), rich_help_panel=heading.value, **settings
    )
    return described


def flag(heading: Heading, help: str, *names: str) -> OptionInfo:
    """Describe an option that takes no value and is off by default, for `Annotated`."""
    return option(heading, help, *names, default="off", metavar="")


def argument(metavar: str, *, help: str, callback: Callable[..., Any] | None = None) -> Any:
    """Describe a required argument, for `Annotated`.

    callback:  checks its value while the command line is read, as those of `imgaudit.cli.paths` do
    """
    return typer.Argument(metavar=metavar, help=escape(help), show_default=False, callback=callback)


def describe(help: str, default: object = None) -> str:
    """Return a help text in rich's markup, with the default where one is named.

    >>> describe("hub id[@revision]", 8)
    'hub id\\\\[@revision] [dim]\\\\[default: 8][/dim]'
    """
    return escape(help) if default is None else escape(help) + _format_default(default)


def _format_default(default: object) -> str:
    return f" [dim]{escape(f'[default: {default}]')}[/dim]"


_METAVARS = {int: "N", float: "X"}
"""The metavar of a number where an option names none."""


def takes_records(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take records (dataclasses) of options: each field becomes an option of its own.

    Typer reads the signature of what it registers, so the function returned has one with every field in the place of
    its record, the options sorted by heading. A field is declared as a parameter would be: with `Annotated`, and its
    default. Fields that `Take` leaves out keep their defaults, and so must have one.
    """
    parameters: list[inspect.Parameter] = []
    records: dict[str, tuple[type, list[str]]] = {}
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        record, take = _record(parameter.annotation)
        if record is None:
            annotation = _complete(parameter.annotation, parameter.default)
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=annotation))
            continue
        own = list(_fields(record, take))
        records[parameter.name] = record, [one.name for one in own]
        parameters += own
    parameters.sort(key=_place)

    @functools.wraps(command)
    def flat(**values: Any) -> None:
        built = {
            name: record(**{field: values.pop(field) for field in names}) for name, (record, names) in records.items()
        }
        command(**values, **built)

    flat.__annotations__ = {one.name: one.annotation for one in parameters}
    flat.__dict__["__signature__"] = inspect.Signature(parameters)
    return flat


def make_record(kind: type[R], **values: object) -> R:
    """Make a record of settings from options of the same names. Raises ConfigError that names the first wrong one."""
    from pydantic import ValidationError

    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = {"start": "from"}.get(str(first["loc"][0]), str(first["loc"][0]).replace("_", "-"))
        raise ConfigError(f"--{name}: {first['msg']}") from error


def _record(annotation: object) -> tuple[type | None, Take]:
    kind, *notes = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    if not (isinstance(kind, type) and is_dataclass(kind)):
        return None, Take()
    return kind, next((note for note in notes if isinstance(note, Take)), Take())


def _fields(record: type, take: Take) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(record, include_extras=True)
    for field in fields(record):
        if (take.only and field.name not in take.only) or field.name in take.without:
            continue
        annotation = hints[field.name]
        if take.heading is not None:
            kind, info = get_args(annotation)
            info = copy(info)
            info.rich_help_panel = take.heading.value
            annotation = Annotated[kind, info]
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        if field.name in take.optional:
            default, annotation = "", _complete(annotation, "")
        yield inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _complete(annotation: Any, default: object) -> Any:
    """Return the annotation of an option with the metavar and the default in words that it was given without."""
    kind, *notes = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    if not (notes and isinstance(notes[0], OptionInfo)):
        return annotation
    info = copy(notes[0])
    number = next((one for one in (kind, *get_args(kind)) if one in _METAVARS), None)
    info.metavar = info.metavar or (_METAVARS[number] if info.metavar is None and number else info.metavar)
    if info.show_default and default in (None, ""):
        info.help, info.show_default = f"{info.help}{_format_default('none')}", False
    return Annotated[kind, info]


def _place(parameter: inspect.Parameter) -> int:
    """The place of a parameter's heading; arguments and options without one come first."""
    for note in getattr(parameter.annotation, "__metadata__", ()):
        if isinstance(note, OptionInfo) and note.rich_help_panel:
            return list(Heading).index(Heading(note.rich_help_panel))
    return -1

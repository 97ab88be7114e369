"""Options from `imgaudit.toml` and `IMGAUDIT_*` variables: the defaults of the command that was typed.

Keys at the top of the file are options of `imgaudit audit`. Other commands take some of them too: the model, the
folders that mean the same to them, and what every measurement is set by. The rest of their options stand in a table of
their name, such as `[detect]` or `[index.build]`.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

import typer
from typer.core import TyperArgument, TyperGroup, TyperOption

from imgaudit.exceptions import ConfigError
from imgaudit.schema.config import AuditConfig, nearest_name, read_environment, read_nearest_table

Parameter = TyperOption | TyperArgument
Places = dict[tuple[str, ...], dict[str, Parameter]]
"""Every command by its words, such as ("index", "build"), with its options and arguments by key."""

MODEL_KEYS = ("model", "lora", "variant", "model_config", "mitigation", "offload", "compile")
"""Keys at the top that every command takes which loads one model."""

SHARED_KEYS = {
    "seal": ("targets", "captions", "prompts", "reference", "controls", "calibration", "decoys", "policy"),
    "calibrate": ("controls", "workers", "devices", "worker_threads", "engine", "address"),
}
"""Keys at the top that other commands take because they mean the same to them."""

MACHINE_KEYS = ("device", "offline")
"""Keys at the top that every command takes which has such an option."""

UNCONFIGURED = ("verify", "sign", "timestamp", "bag", "key")
"""Commands that take their options from the command line alone: a file that lies in a folder of somebody else must not
choose how evidence is checked, or what is signed."""


def set_configured_defaults(context: typer.Context) -> None:
    """Make what the nearest file and the variables say the defaults of the command that was typed.

    Raises ConfigError that names the source of an unknown key, with the nearest known one, or of a wrong value.
    """
    root, name = context.command, context.invoked_subcommand
    if not isinstance(root, TyperGroup) or name is None or name in UNCONFIGURED:
        return
    table, file = read_nearest_table(Path.cwd())
    environment, places = read_environment(os.environ), find_commands(root)
    top = {key.replace("-", "_"): value for key, value in table.items() if not isinstance(value, dict)}
    for values, source in ((top, file), (environment, "environment")):
        _require_known(values, places, source)
    tables = dict(_walk_tables({key: value for key, value in table.items() if isinstance(value, dict)}, places, file))
    context.default_map = {}
    for place, parameters in places.items():
        if place[0] == name:
            values = _take(parameters, _shared(place, parameters, top) | tables.get(place, {}), file)
            values |= _take(parameters, _shared(place, parameters, environment), "environment")
            inner = context.default_map if len(place) == 1 else context.default_map.setdefault(place[0], {})
            inner[place[-1]] = values


def find_commands(group: TyperGroup) -> Places:
    """Return every command that a file can configure."""
    found: Places = {}
    for name, command in group.commands.items():
        if name in UNCONFIGURED:
            continue
        if isinstance(command, TyperGroup):
            found |= {(name, *place): parameters for place, parameters in find_commands(command).items()}
        else:
            found[name,] = {key_of(one): one for one in command.params if isinstance(one, Parameter)}
    return found


def key_of(parameter: Parameter) -> str:
    """Return the key of an option or argument: the field of the configuration, or its long name with underscores."""
    name = str(parameter.name)
    if name in AuditConfig.model_fields or isinstance(parameter, TyperArgument):
        return name
    return str(parameter.opts[0]).lstrip("-").replace("-", "_")


def _require_known(values: Mapping[str, object], places: Places, source: str) -> None:
    """Refuse keys at the top that are no options of an audit."""
    known = {*places["audit",], *AuditConfig.model_fields}
    for key in values:
        if key in known:
            continue
        homes = [".".join(place) for place, parameters in places.items() if key in parameters]
        home = f"; it is an option of {homes[0]}: put it under [{homes[0]}]" if homes else ""
        raise ConfigError(f"unknown key {key!r} in {source}{home or nearest_name(key, sorted(known))}")


def _walk_tables(
    tables: Mapping[str, Any], places: Places, file: str, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Yield the table of every command; refuse tables that belong to none, and keys that are none of its options."""
    for name, table in tables.items():
        place = (*words, name)
        if place not in places:
            inside = sorted({one[len(words)] for one in places if one[: len(words)] == words})
            if name not in inside or not all(isinstance(value, dict) for value in table.values()):
                raise ConfigError(f"unknown table [{'.'.join(place)}] in {file}{nearest_name(name, inside)}")
            yield from _walk_tables(table, places, file, place)
            continue
        values = {key.replace("-", "_"): value for key, value in table.items()}
        for key in values:
            if key not in places[place]:
                hint = nearest_name(key, sorted(places[place]))
                raise ConfigError(f"unknown key {key!r} under [{'.'.join(place)}] in {file}{hint}")
            if _is_merged(places[place], key):
                raise ConfigError(
                    f"{key!r} under [{'.'.join(place)}] in {file} is set for every command: put it at the top of the "
                    "file, before the first table"
                )
        yield place, values


def _is_merged(parameters: Mapping[str, Parameter], key: str) -> bool:
    """Tell whether a key is one of the configuration, which `resolve_config` merges for commands that measure."""
    return key in AuditConfig.model_fields and "offline" in parameters and "chunk_size" in parameters


def _shared(place: tuple[str, ...], parameters: Mapping[str, Parameter], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys at the top that a command takes."""
    if place == ("audit",):
        names = set(parameters)
    else:
        own_model = place[0] not in ("benchmark", "lab")
        names = {*SHARED_KEYS.get(".".join(place), ()), *(MODEL_KEYS if own_model else ())}
        names |= set(MACHINE_KEYS) if own_model else set()
    return {
        key: value
        for key, value in values.items()
        if key in names and key in parameters and not _is_merged(parameters, key)
    }


def _take(parameters: Mapping[str, Parameter], values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return values by the names of the parameters, as the command line would give them."""
    return {str(parameters[key].name): _read(key, parameters[key], value, source) for key, value in values.items()}


def _read(key: str, parameter: Parameter, value: Any, source: str) -> Any:
    """Return one value as the command line would give it. Raises ConfigError for a value of another kind."""
    kinds = _kinds(parameter.type_descriptor.annotation)
    many = list in kinds or parameter.multiple or parameter.nargs != 1
    if many and isinstance(value, str):
        value = [part.strip() for part in value.split(",")]
    if many != isinstance(value, list):
        raise ConfigError(f"{key} in {source} must be {'a list' if many else 'one value'}, but got {value!r:.200}")
    if many:
        return [_read_one(key, kinds, one, source) for one in value]
    return _read_one(key, kinds, value, source)


def _read_one(key: str, kinds: set[Any], value: Any, source: str) -> Any:
    if bool in kinds:
        switch = value if isinstance(value, bool) else {"1": True, "true": True, "0": False, "false": False}.get(
            str(value).lower() if source == "environment" else ""
        )  # fmt: skip
        if switch is None:
            raise ConfigError(f"{key} in {source} must be true or false, but got {value!r:.200}")
        return switch
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and kinds & {int, float}:
        return str(value)
    if not isinstance(value, str) or not value:
        wanted = "a number" if kinds & {int, float} else "text in quotes"
        raise ConfigError(f"{key} in {source} must be {wanted}, but got {value!r:.200}")
    if source == "environment":
        return value
    beside = os.path.relpath(Path(source).parent / value)
    is_file_there = key in ("model", "model_config", "lora") and Path(beside.rpartition(":")[0] or beside).exists()
    return beside if (Path in kinds or is_file_there) and not Path(value).is_absolute() else value


def _kinds(annotation: Any) -> set[Any]:
    """Return the plain types that an annotation is made of, list among them.

    >>> sorted(one.__name__ for one in _kinds(list[int] | None))
    ['NoneType', 'int', 'list']
    """
    origin = get_origin(annotation)
    inner: set[Any] = set().union(*(_kinds(one) for one in get_args(annotation)))
    return inner | ({list} if origin is list else set()) if origin is not None or inner else {annotation}

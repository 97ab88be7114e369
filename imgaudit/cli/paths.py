"""Paths and models that users name, checked while the command line is read: a wrong name is told at once.

Each function is a callback of an option or argument. Nothing is opened and no library of models is imported, so that
nobody waits for a model to load before reading that a folder has another name.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer

from imgaudit.exceptions import InputError, ModelRefusedError
from imgaudit.schema.model_name import BUNDLED, is_hub_id, require_named

Check = Callable[[str, Path], None]
"""Raises InputError for a path that cannot be used; the first argument is what it was given as, such as --out."""


def check_folder(what: str, path: Path) -> None:
    """Check that a folder to read is there. Raises InputError."""
    _check_there(what, path, "a folder")
    if not path.is_dir():
        raise InputError(f"{what}: {_quote(path)} is a file, but a folder was expected: name the folder that holds it")


def check_file(what: str, path: Path) -> None:
    """Check that a file to read is there. Raises InputError."""
    _check_there(what, path, "a file")
    if path.is_dir():
        raise InputError(f"{what}: {_quote(path)} is a folder, but a file was expected: name a file in it")


def check_present(what: str, path: Path) -> None:
    """Check that a file or folder to read is there. Raises InputError."""
    _check_there(what, path, "a file or folder")


def check_new_folder(what: str, path: Path) -> None:
    """Check that a folder can be written to, or made. Raises InputError."""
    if _exists(what, path) and not path.is_dir():
        raise InputError(f"{what}: {_quote(path)} is a file, but results go to a folder: name another")
    _check_writable(what, path)


def check_new_file(what: str, path: Path) -> None:
    """Check that a file can be written, or written again. Raises InputError."""
    if _exists(what, path) and path.is_dir():
        raise InputError(f"{what}: {_quote(path)} is a folder, but a file is written: name a file, which may be in it")
    _check_writable(what, path.parent)


def check_new(what: str, path: Path) -> None:
    """Check that a file or a folder can be made. Raises InputError."""
    _check_writable(what, path.parent)


def require_folder(parameter: typer.CallbackParam, value: Any) -> Any:
    """Refuse folders to read that are not there."""
    return _require(parameter, value, check_folder)


def require_file(parameter: typer.CallbackParam, value: Any) -> Any:
    """Refuse files to read that are not there."""
    return _require(parameter, value, check_file)


def require_present(parameter: typer.CallbackParam, value: Any) -> Any:
    """Refuse files or folders to read that are not there."""
    return _require(parameter, value, check_present)


def require_new_folder(context: typer.Context, parameter: typer.CallbackParam, value: Any) -> Any:
    """Refuse folders for results that can neither be written to nor made, unless --dry-run writes nothing."""
    return value if context.params.get("dry_run") else _require(parameter, value, check_new_folder)


def require_new_file(parameter: typer.CallbackParam, value: Any) -> Any:
    """Refuse files for results that cannot be written."""
    return _require(parameter, value, check_new_file)


def require_new(parameter: typer.CallbackParam, value: Any) -> Any:
    """Refuse files or folders for results that cannot be made."""
    return _require(parameter, value, check_new)


def require_lab(parameter: typer.CallbackParam, value: Any) -> Any:
    """Refuse what is neither the name of a bundled lab nor a folder."""
    return value if value is None or str(value) in BUNDLED else require_folder(parameter, value)


def require_model(parameter: typer.CallbackParam, value: Any) -> Any:
    """Refuse names that no model can have. Raises ModelRefusedError."""
    for name in filter(None, _list(value)):
        require_named(name)
    return value


def require_configuration(parameter: typer.CallbackParam, value: Any) -> Any:
    """Refuse what is neither a folder nor a name on the hub. Raises ModelRefusedError."""
    if value is not None and not is_hub_id(value):
        _refuse_model(check_folder, _name(parameter), Path(value))
    return value


def require_loras(parameter: typer.CallbackParam, value: Any) -> Any:
    """Refuse LoRAs, FILE[:WEIGHT], that are not there. Raises ModelRefusedError."""
    for text in _list(value):
        named, colon, _ = text.rpartition(":")
        # A path may hold a colon too, on Windows after the drive.
        if not (colon and Path(named).exists()):
            _refuse_model(check_present, _name(parameter), Path(text))
    return value


def _refuse_model(check: Check, what: str, path: Path) -> None:
    """Check a part of a model. Raises ModelRefusedError, as for the model."""
    try:
        check(what, path)
    except InputError as error:
        raise ModelRefusedError(str(error)) from error


def _require(parameter: typer.CallbackParam, value: Any, check: Check) -> Any:
    for path in _list(value):
        check(_name(parameter), Path(path))
    return value


def _list(value: Any) -> Iterator[Any]:
    if value is not None:
        yield from value if isinstance(value, list | tuple) else [value]


def _name(parameter: typer.CallbackParam) -> str:
    """Return an option's long name, or an argument's placeholder."""
    named = [one for one in parameter.opts if one.startswith("--")]
    return named[0] if named else str(getattr(parameter, "metavar", None) or parameter.opts[0])


def _check_there(what: str, path: Path, expected: str) -> None:
    if not _exists(what, path):
        looked = "" if path.is_absolute() else f", which is looked for from {_quote(Path.cwd())}"
        raise InputError(f"{what}: there is no {_quote(path)}: expected {expected}. Check the name{looked}")
    if not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
        raise InputError(f"{what}: {_quote(path)} cannot be read by this account: change its permissions, or copy it")


def _check_writable(what: str, path: Path) -> None:
    """Check the folder, or the nearest one above it that is there."""
    there = next(one for one in (path, *path.absolute().parents) if _exists(what, one))
    if not there.is_dir():
        raise InputError(
            f"{what}: {_quote(path)} cannot be made, because {_quote(there)} is a file: name another place"
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{what}: this account cannot write to {_quote(there)}: name another place")


def _exists(what: str, path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise InputError(f"{what}: {_quote(path)} cannot be opened: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{what}: {_quote(path)} is no path: {error}") from error
    return True


def _quote(path: Path) -> str:
    text = repr(str(path))
    return text if len(text) <= 200 else text[:197] + "..."

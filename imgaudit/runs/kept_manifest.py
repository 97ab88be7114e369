"""The manifest of a folder that a command goes on in: written once, and every later command must agree with it."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from imgaudit.exceptions import RunFolderError
from imgaudit.io.writing import read_json, write_json

M = TypeVar("M", bound=BaseModel)


def open_manifest(
    folder: Path, manifest: M, differences: Callable[[M, M], Iterable[str]], *, what: str, things: str
) -> M:
    """Write the manifest of a new folder, or check that an existing one is of the same work; the one that holds.

    differences:  of what is stored and what is asked for now, in words
    what:         what such a folder holds, after "holds no"
    things:       the same after "a manifest of"
    Raises RunFolderError that says what differs, or that the folder holds something else.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        strangers = [one.name for one in folder.iterdir() if not one.name.startswith(".")]
        if strangers:
            raise RunFolderError(
                f"{str(folder)!r} is not empty and holds no {what} (it holds {strangers[0]!r}); choose another --out"
            )
        write_json(path, manifest.model_dump(mode="json"))
        return manifest
    try:
        stored = type(manifest).model_validate(read_json(path))
    except ValidationError as error:
        raise RunFolderError(
            f"{str(path)!r} is not a manifest of {things} of this version of imgaudit; choose another --out"
        ) from error
    if found := list(differences(stored, manifest)):
        raise RunFolderError(
            f"{str(folder)!r} was made with other options: {'; '.join(found)}. Give those, or another --out"
        )
    return stored

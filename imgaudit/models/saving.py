"""Models as they are written: ordinary diffusers folders, safetensors only, without paths of this machine."""

from pathlib import Path
from typing import Any

from imgaudit.exceptions import InputError
from imgaudit.io.writing import read_json, write_json


def require_new(folder: Path) -> None:
    """Check that nothing is there, so that no model is overwritten. Raises InputError otherwise."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{str(folder)!r} is there already and not empty; choose another --out")


def save_folder(pipeline: Any, folder: Path) -> Path:
    """Save a pipeline in the precision that it has; returns the folder."""
    pipeline.save_pretrained(folder, safe_serialization=True)
    for path in (folder / "model_index.json", *folder.glob("*/config.json")):
        content = read_json(path)
        # Where a network was taken from is a path of this machine, and nothing reads it.
        if content.pop("_name_or_path", None) is not None:
            write_json(path, content)
    return folder

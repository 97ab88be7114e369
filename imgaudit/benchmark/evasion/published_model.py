"""Models as an owner could publish them to mislead an audit: a copy of the folder with one thing changed."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from imgaudit.io.writing import read_json, write_json

UNET_WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
GUIDANCE_WIDTH = 8
"""Width of the embedding of the guidance scale that the claimed distillation declares; any number will do."""

Change = Callable[[Path], None]
"""Changes a copy of a model's folder."""


def copy_changed(model: Path, folder: Path, change: Change) -> Path:
    """Copy a model's folder and change the copy; a copy that is complete is not made again."""
    if not folder.is_dir():
        unfinished = folder.with_name(folder.name + ".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(model, unfinished)
        change(unfinished)
        unfinished.rename(folder)
    return folder


def set_values(file: str, **values: Any) -> Change:
    """Return what sets values in a configuration file of a model's folder."""

    def change(folder: Path) -> None:
        write_json(folder / file, read_json(folder / file) | values)

    return change


def rename_scheduler(name: str) -> Change:
    """Return what names another class of scheduler."""

    def change(folder: Path) -> None:
        set_values("model_index.json", scheduler=["diffusers", name])(folder)
        set_values("scheduler/scheduler_config.json", _class_name=name)(folder)

    return change


def claim_distillation(folder: Path) -> None:
    """Declare that the UNet embeds the guidance scale, as guidance-distilled ones do, by weights that are all zero."""
    config = read_json(folder / "unet/config.json")
    weights = load_file(folder / UNET_WEIGHTS)
    width, dtype = config["block_out_channels"][0], next(iter(weights.values())).dtype
    weights["time_embedding.cond_proj.weight"] = torch.zeros(width, GUIDANCE_WIDTH, dtype=dtype)
    save_file(weights, folder / UNET_WEIGHTS, metadata={"format": "pt"})
    write_json(folder / "unet/config.json", config | {"time_cond_proj_dim": GUIDANCE_WIDTH})

"""Tiny models of the families that are published as single files: their folders, and a file of each."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.single_files import open_clip, pipeline_of, save, single_file


@pytest.fixture(scope="package")
def folders(model_folder: Path, other_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from tests.support.tiny_families import make_sdxl
    from tests.support.tiny_transformers import make_flux, make_sd3

    made = {"tiny": model_folder, "other": other_model_folder}
    makers = {"xl": make_sdxl, "sd3": make_sd3, "sd3 without t5": lambda: make_sd3(with_t5=False), "flux": make_flux}
    for name, make in makers.items():
        pipeline: Any = make()
        if name.startswith("sd3"):
            # As it was trained: no single file of it says anything else.
            pipeline.text_encoder.text_projection.weight.data = torch.eye(32)
        made[name] = tmp_path_factory.mktemp("folders") / name.replace(" ", "-")
        pipeline.save_pretrained(made[name])
    return made


@pytest.fixture(scope="package")
def files(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every tiny model as a single file."""
    place = tmp_path_factory.mktemp("files")
    made = {}
    for name, folder in folders.items():
        pipeline = pipeline_of(folder)
        tensors = single_file(pipeline)
        if name == "other":
            # Stable Diffusion 2 has OpenCLIP's text encoder.
            tensors = {key: tensor for key, tensor in tensors.items() if not key.startswith("cond_stage_model.")}
            tensors |= open_clip(pipeline.text_encoder.state_dict(), "cond_stage_model.model.")
        made[name] = save(tensors, place / f"{name.replace(' ', '-')}.safetensors")
    return made

"""A lab and its model, opened together by name or folder."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch

from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.exceptions import InputError
from imgaudit.lab.description import LabDescription
from imgaudit.models import load_model
from imgaudit.models.loading import BUNDLED, LoadedModel, bundled_lab


@dataclass(frozen=True)
class LabModel:
    """What a benchmark needs of a lab."""

    folder: Path
    """lab.json, model/, and for bundled labs benchmark/ and calibration.json."""
    description: LabDescription
    """What it was trained on and what it memorised."""
    loaded: LoadedModel
    """The model."""

    @property
    def bank(self) -> Path | None:
        """The null bank that a bundled lab brings."""
        path = self.folder / "calibration.json"
        return path if path.is_file() else None


def open_lab(model: str, device: str) -> LabModel:
    """Open a bundled lab by name, or a folder that `imgaudit lab train` wrote.

    Raises InputError when the folder is no lab, ModelRefusedError when its model cannot be loaded.
    """
    folder = lab_folder(model)
    if not (folder / "lab.json").is_file():
        raise InputError(f"{model!r} is no lab: expected one of {', '.join(BUNDLED)}, or a folder with lab.json")
    description = LabDescription.read(folder / "lab.json")
    return LabModel(folder, description, load_model(model if model in BUNDLED else str(folder / "model"), device))


def lab_folder(model: str) -> Path:
    """Return the folder of a bundled lab, or the folder that was named."""
    return bundled_lab(model) if model in BUNDLED else Path(model)


def describe_machine() -> str:
    """Name the machine and count its processors."""
    return f"{platform.machine()}, {os.cpu_count()} processors"


def describe_hardware(denoiser: Denoiser) -> str:
    """Name machine, processors, threads and device: what seconds depend on."""
    device = getattr(denoiser, "device", "cpu")
    return f"{describe_machine()}, {torch.get_num_threads()} threads, {device}"

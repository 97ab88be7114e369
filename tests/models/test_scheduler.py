"""A folder's scheduler against its model_index.json and its own class."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models import load_model


class Folder:
    """The tiny model with another scheduler."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def change(self, class_name: str, config: Mapping[str, Any]) -> None:
        index, scheduler = self.path / "model_index.json", self.path / "scheduler" / "scheduler_config.json"
        index.write_text(json.dumps(json.loads(index.read_text()) | {"scheduler": ["diffusers", class_name]}))
        scheduler.write_text(json.dumps(json.loads(scheduler.read_text()) | dict(config)))


@pytest.fixture
def folder(model_folder: Path, tmp_path: Path) -> Folder:
    return Folder(Path(shutil.copytree(model_folder, tmp_path / "model")))


def test_a_configuration_of_another_sampler_is_told(folder: Folder) -> None:
    folder.change("PNDMScheduler", {"_class_name": "DDIMScheduler"})
    [note] = load_model(str(folder.path), "cpu").notes
    assert "names the scheduler PNDMScheduler" in note and "written for 'DDIMScheduler'" in note


@pytest.mark.parametrize(
    ("class_name", "config", "message"),
    [
        ("DDIMScheduler", {"_class_name": "LCMScheduler"}, "they are of different kinds of models"),
        ("LCMScheduler", {"_class_name": "DDIMScheduler"}, "they are of different kinds of models"),
        ("DDIMScheduler", {"_class_name": "FlowMatchEulerDiscreteScheduler"}, "they are of different kinds of models"),
        (
            "PNDMScheduler", {"_class_name": "PNDMScheduler", "rescale_betas_zero_snr": True},
            "sets 'rescale_betas_zero_snr' to True, which a PNDMScheduler does not know and would leave out",
        ),
        (
            "PNDMScheduler", {"_class_name": "DDIMScheduler", "rescale_betas_zero_snr": True},
            "which a PNDMScheduler does not know",
        ),
    ],
)  # fmt: skip
def test_a_contradiction_that_changes_the_model_is_refused(
    class_name: str, config: Mapping[str, Any], message: str, folder: Folder
) -> None:
    folder.change(class_name, config)
    with pytest.raises(ModelRefusedError, match=message):
        load_model(str(folder.path), "cpu")

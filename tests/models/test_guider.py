"""Guiders, from numbers in a file."""

import json
from pathlib import Path
from typing import Any

import pytest

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.guider import GUIDER_FILE, load_guider

NAME = "AdaptiveProjectedMixGuidance"


def written(folder: Path, settings: dict[str, Any]) -> Path:
    (folder / GUIDER_FILE).write_text(json.dumps(settings), encoding="utf-8")
    return folder


def test_a_guider_has_the_settings_of_its_file(tmp_path: Path) -> None:
    settings = {"_class_name": "Other", "guidance_scale": 2.5, "adaptive_projected_guidance_start_step": 7, "note": "a"}
    guider = load_guider(written(tmp_path, settings), NAME)
    assert guider.guidance_scale == 2.5 and guider.adaptive_projected_guidance_start_step == 7


@pytest.mark.parametrize("value", ["2", None, [1.0], float("nan"), float("inf"), 10**400])
def test_settings_that_are_no_numbers_of_a_sensible_size_are_refused(value: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelRefusedError, match=r"'guidance_scale' to .*; expected a number"):
        load_guider(written(tmp_path, {"guidance_scale": value}), NAME)


def test_settings_that_the_class_refuses_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRefusedError, match="cannot be loaded"):
        load_guider(written(tmp_path, {"stop": 7.0}), NAME)
    with pytest.raises(ModelRefusedError, match="which the model needs"):
        load_guider(tmp_path / "nowhere", NAME)

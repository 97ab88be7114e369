"""Changed copies of a model: one thing differs, the original does not, and what is claimed is what the audit reads."""

import json
from pathlib import Path

import pytest
import torch

from imgaudit.benchmark.evasion.published_model import claim_distillation, copy_changed, rename_scheduler, set_values
from imgaudit.models import load_model


def test_a_copy_differs_in_what_was_set_and_is_made_once(model_folder: Path, tmp_path: Path) -> None:
    before = (model_folder / "unet/config.json").read_bytes()
    folder = copy_changed(model_folder, tmp_path / "copy", set_values("unet/config.json", norm_eps=1e6))
    assert json.loads((folder / "unet/config.json").read_text()) == json.loads(before) | {"norm_eps": 1e6}
    assert (model_folder / "unet/config.json").read_bytes() == before
    again = copy_changed(model_folder, tmp_path / "copy", set_values("unet/config.json", norm_eps=1.0))
    assert json.loads((again / "unet/config.json").read_text())["norm_eps"] == 1e6


def test_a_copy_that_was_interrupted_is_made_again(model_folder: Path, tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_changed(model_folder, tmp_path / "copy", fail)
    assert not (tmp_path / "copy").exists()
    assert copy_changed(model_folder, tmp_path / "copy", lambda folder: None).is_dir()


def test_a_claimed_distillation_changes_no_prediction_and_takes_the_null_branch(
    model_folder: Path, tmp_path: Path
) -> None:
    plain = load_model(str(model_folder), "cpu").denoiser
    claimed = load_model(str(copy_changed(model_folder, tmp_path / "copy", claim_distillation)), "cpu").denoiser
    assert not plain.no_null and "guidance-distilled" in claimed.no_null
    noisy, times = torch.ones(1, *plain.latent_shape), torch.tensor([300])
    condition = plain.condition(["a red fox"])
    assert torch.equal(plain.predict(noisy, times, condition).output, claimed.predict(noisy, times, condition).output)


def test_a_renamed_scheduler_is_what_the_model_is_sampled_with(model_folder: Path, tmp_path: Path) -> None:
    folder = copy_changed(model_folder, tmp_path / "copy", rename_scheduler("LCMScheduler"))
    assert "few steps (LCMScheduler)" in load_model(str(folder), "cpu").denoiser.no_null

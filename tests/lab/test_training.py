from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline

from imgaudit.diffusion.executor import Executor
from imgaudit.exceptions import InputError
from imgaudit.lab.corpus import (
    read_corpus,
)
from imgaudit.lab.description import LabDescription
from imgaudit.lab.examination import describe_lab
from imgaudit.lab.training import borrow_autoencoder, save_pipeline, train_lab
from imgaudit.models import load_model
from tests.conftest import tiny_recipe
from tests.lab.conftest import SPLIT


def test_an_autoencoder_is_borrowed_only_by_a_lab_that_would_have_trained_the_same(
    corpus: Path, tmp_path: Path
) -> None:
    entries, recipe = read_corpus(corpus), tiny_recipe(**SPLIT)
    trained = train_lab(entries, recipe, tmp_path / "lab")
    save_pipeline(trained.pipeline, tmp_path / "lab" / "model")
    sibling = recipe.model_copy(update={"seed": 3, "split_seed": recipe.seed, "prediction_type": "v_prediction"})
    vae = borrow_autoencoder(tmp_path / "lab", recipe, sibling)
    again = train_lab(entries, sibling, tmp_path / "sibling", autoencoder=vae)
    assert not (tmp_path / "sibling" / "training" / "vae.safetensors").exists()
    for name, weight in again.pipeline.vae.state_dict().items():
        assert torch.equal(weight.half(), trained.pipeline.vae.state_dict()[name]), name
    with pytest.raises(InputError, match=r"another autoencoder \(split_seed"):
        borrow_autoencoder(tmp_path / "lab", recipe, recipe.model_copy(update={"seed": 3}))
    seen = recipe.model_copy(update={"autoencoder_images": "trained"})
    with pytest.raises(InputError, match="has seen planted images"):
        borrow_autoencoder(tmp_path / "lab", seen, seen.model_copy(update={"plant": False}))


def test_a_trained_lab_is_an_ordinary_folder_with_a_description(corpus: Path, tmp_path: Path) -> None:
    entries, recipe = read_corpus(corpus), tiny_recipe(prediction_type="v_prediction")
    trained = train_lab(entries, recipe, tmp_path / "lab")
    save_pipeline(trained.pipeline, tmp_path / "model")
    assert not list((tmp_path / "model").rglob("*.bin"))
    # What is read from a folder remembers where it was; what is shipped does not say it.
    again = StableDiffusionPipeline.from_pretrained(tmp_path / "model", safety_checker=None, feature_extractor=None)
    assert "_name_or_path" in again.vae.config
    save_pipeline(again, tmp_path / "again")
    assert not [path for path in (tmp_path / "again").rglob("*.json") if "_name_or_path" in path.read_text()]
    denoiser = load_model(str(tmp_path / "model"), "cpu").denoiser
    assert denoiser.prediction_type == "v_prediction"
    description = describe_lab(entries, recipe, trained, denoiser, Executor(64))  # type: ignore[arg-type]
    description.write(tmp_path / "lab.json")
    assert LabDescription.read(tmp_path / "lab.json") == description
    listed = [entry for entry in entries if entry.role != "background"]
    assert [image.file_name for image in description.images] == [entry.path.name for entry in listed]
    assert description.background_images == len(entries) - len(listed)
    assert [image.truth_seeds > 0 for image in description.images] == [
        entry.role in ("planted", "seen_once") for entry in listed
    ]
    trained_on = {entry.path.name for entry in entries if entry.trained}
    for image in description.images:
        assert image.nearest_training_image != image.file_name
        assert image.nearest_training_image in trained_on


def test_half_precision_and_squares_change_the_training_and_not_what_is_saved(corpus: Path, tmp_path: Path) -> None:
    entries = read_corpus(corpus)
    weights = []
    for name, options in (("whole", {}), ("half", {"mixed_precision": "bf16", "vae_crop": 16, "resolution": 24})):
        trained = train_lab(entries, tiny_recipe(**options), tmp_path / name)
        parts = [trained.pipeline.vae, trained.pipeline.unet, trained.pipeline.text_encoder]
        weights.append(torch.cat([weight.flatten() for part in parts for weight in part.parameters()]))
    assert weights[0].dtype == weights[1].dtype == torch.float32 and weights[0].shape == weights[1].shape
    assert torch.isfinite(weights[1]).all() and not torch.equal(weights[0], weights[1])

"""What a file of weights says of itself: honoured by its scheduler, or refused with both values."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models import load_model
from imgaudit.models.families.registry import FAMILIES
from imgaudit.models.files.claims import ARCHITECTURES, collect_claims, refuse_other_architecture
from imgaudit.models.loading import LoadedModel
from tests.conftest import make_pipeline, tiny_recipe
from tests.support.single_files import Tensors, single_file

VELOCITY = {"v_pred": torch.zeros(0)}
MARKED = VELOCITY | {"ztsnr": torch.zeros(0)}


@pytest.fixture(scope="module")
def plain() -> Tensors:
    return {name: one.detach().contiguous().clone() for name, one in single_file(make_pipeline(tiny_recipe())).items()}


class Loader:
    """Loads the tiny model as a single file with tensors and notes added, and a changed scheduler."""

    def __init__(self, plain: Tensors, model_folder: Path, place: Path) -> None:
        self.plain, self.folder, self.file = plain, place / "config", place / "model.safetensors"
        shutil.copytree(model_folder, self.folder)

    def configure(self, changes: Mapping[str, Any]) -> None:
        path = self.folder / "scheduler" / "scheduler_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | dict(changes)))

    def __call__(self, added: Mapping[str, torch.Tensor], noted: Mapping[str, str] | None = None) -> LoadedModel:
        save_file(self.plain | dict(added), self.file, {"format": "pt"} | dict(noted or {}))
        return load_model(str(self.file), "cpu", config=str(self.folder))

    def refused(self, added: Mapping[str, torch.Tensor], noted: Mapping[str, str] | None = None) -> str:
        with pytest.raises(ModelRefusedError) as error:
            self(added, noted)
        assert str(error.value).isprintable() and len(str(error.value)) < 600
        return str(error.value)


@pytest.fixture
def load(plain: Tensors, model_folder: Path, tmp_path: Path) -> Loader:
    return Loader(plain, model_folder, tmp_path)


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_marker_tensors_go_before_the_configuration(prefix: str, load: Loader) -> None:
    loaded = load({prefix + name: one for name, one in MARKED.items()})
    scheduler = loaded.denoiser.pipeline.scheduler  # type: ignore[attr-defined]
    assert loaded.denoiser.prediction_type == "v_prediction"
    assert float(scheduler.alphas_cumprod[-1]) < 1e-6
    assert "prediction_type is v_prediction" in loaded.notes[0] and "rescale_betas_zero_snr" in loaded.notes[0]


def test_a_marker_that_agrees_changes_nothing(load: Loader) -> None:
    load.configure({"prediction_type": "v_prediction"})
    loaded = load(VELOCITY, {"modelspec.prediction_type": "v"})
    assert (loaded.denoiser.prediction_type, list(loaded.notes)) == ("v_prediction", [])


@pytest.mark.parametrize(
    ("added", "noted", "message"),
    [
        ({}, {"modelspec.prediction_type": "v"}, "it predicts 'v_prediction', but 'scheduler/scheduler_config.json'"),
        ({}, {"modelspec.predict_key": "v"}, "it predicts 'v_prediction', but 'scheduler/scheduler_config.json'"),
        (VELOCITY, {"modelspec.predict_key": "epsilon"}, "contradicts itself: its tensor 'v_pred' says"),
        ({}, {"modelspec.prediction_type": "v", "modelspec.predict_key": "epsilon"}, "contradicts itself: its header"),
        ({}, {"modelspec.timestep_range": "500,999"}, "was trained for the steps '500,999' only"),
        ({}, {"ss_v_parameterization": "True"}, "it predicts 'v_prediction', but"),
        ({}, {"modelspec.architecture": "stable-diffusion-v2-768-v"}, "it predicts 'v_prediction', but"),
        ({}, {"modelspec.prediction_type": "rectified flow"}, "modelspec.prediction_type is 'rectified flow'"),
        (VELOCITY, {"modelspec.prediction_type": "epsilon"}, "contradicts itself: its tensor 'v_pred' says"),
        ({}, {"modelspec.prediction_type": "epsilon", "ss_v_parameterization": "True"}, "contradicts itself"),
        ({"ztsnr": torch.zeros(0)}, {}, "its schedule ends in pure noise (ztsnr), from which only"),
        ({}, {"ss_zero_terminal_snr": "True"}, "its schedule ends in pure noise"),
        ({"edm_vpred.sigma_max": torch.ones(1)}, {}, "their noise has another scale (EDM)"),
        ({"edm_mean": torch.ones(1), "edm_std": torch.ones(1)}, {}, "their noise has another scale (EDM)"),
        ({}, {"modelspec.architecture": "stable-diffusion-xl-v1-base"}, "but it would be loaded as a Stable"),
        ({}, {"modelspec.architecture": "Flux.1-dev"}, "but it would be loaded as a StableDiffusionPipeline"),
        ({}, {"modelspec.architecture": "stable-diffusion-v1/lora"}, "is an addition to a model, not a model"),
        ({}, {"modelspec.resolution": "768x768"}, "was trained at 768 x 768 pixels, but sample_size"),
    ],
)  # fmt: skip
def test_a_claim_that_the_configuration_contradicts_is_refused(
    added: Mapping[str, torch.Tensor], noted: Mapping[str, str], message: str, load: Loader
) -> None:
    assert message in load.refused(added, noted)


def test_a_scheduler_that_cannot_do_what_a_marker_says_is_refused(load: Loader) -> None:
    index = load.folder / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"scheduler": ["diffusers", "PNDMScheduler"]}))
    load.configure({"_class_name": "PNDMScheduler"})
    assert "which a PNDMScheduler cannot do" in load.refused(MARKED)


def test_claims_that_change_nothing_here_are_told(load: Loader) -> None:
    noted = {
        "modelspec.architecture": "stable-diffusion-v1", "modelspec.resolution": "16x16",
        "modelspec.prediction_type": "epsilon", "modelspec.encoder_layer": "2", "modelspec.title": "a model",
        "modelspec.predict_key": "epsilon", "modelspec.timestep_range": "0,999",
    }  # fmt: skip
    [note] = load({}, noted).notes
    assert "clip skip" in note
    [note] = load({}, {"modelspec.resolution": "832x1216"}).notes
    assert "'832x1216'" in note


def test_the_notes_are_kept_and_printed(load: Loader, capsys: pytest.CaptureFixture[str]) -> None:
    from imgaudit.cli.model_choice import ModelChoice
    from imgaudit.runs.manifest import describe_model

    loaded = load(MARKED)
    assert describe_model(loaded).notes == list(loaded.notes)
    choice = ModelChoice(str(load.file), loras=None, variant=None, config=str(load.folder))
    choice.load("cpu")
    assert "note on the model: " in capsys.readouterr().err


def test_a_folder_is_held_to_the_header_of_its_network(model_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model_folder, tmp_path / "model"))
    unet = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file(load_file(unet), unet, {"format": "pt", "modelspec.prediction_type": "v"})
    with pytest.raises(ModelRefusedError, match="says in its header that it predicts 'v_prediction'"):
        load_model(str(folder), "cpu")


def test_a_lora_of_a_model_with_another_output_is_refused(model_folder: Path, style: Path, tmp_path: Path) -> None:
    for noted, message in (
        ({"modelspec.prediction_type": "v"}, "was trained on a model that predicts 'v_prediction', but this"),
        (
            {"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"},
            "but it would be loaded as a StableDiffusionP",
        ),
    ):
        save_file(load_file(style), tmp_path / "lora.safetensors", noted)
        with pytest.raises(ModelRefusedError, match=message):
            load_model(str(model_folder), "cpu", [str(tmp_path / "lora.safetensors")])
    same = {"modelspec.prediction_type": "epsilon", "modelspec.architecture": "stable-diffusion-v1/lora"}
    save_file(load_file(style), tmp_path / "lora.safetensors", same)
    assert load_model(str(model_folder), "cpu", [str(tmp_path / "lora.safetensors")]).loras


@pytest.mark.parametrize("noted", [{"modelspec.resolution": "9" * 40}, {"modelspec.prediction_type": ["v"]}, {"a": 1}])
def test_notes_of_any_kind_are_read(noted: Mapping[str, Any]) -> None:
    assert collect_claims("a.safetensors", [], noted).prediction_type == ""


def test_architectures_are_those_of_families_that_are_audited() -> None:
    assert {name for classes in ARCHITECTURES.values() for name in classes} <= FAMILIES.keys()


@pytest.mark.parametrize(
    ("architecture", "own", "other"),
    [
        ("flux-1-dev", "FluxPipeline", "Flux2Pipeline"),
        ("Flux.2-dev", "Flux2Pipeline", "FluxPipeline"),
        ("flux2", "Flux2KleinPipeline", "FluxPipeline"),
        ("Chroma", "ChromaPipeline", "FluxPipeline"),
        ("auraflow", "AuraFlowPipeline", "StableDiffusion3Pipeline"),
        ("lumina2", "Lumina2Pipeline", "SanaPipeline"),
        ("flux", "Flux2KleinPipeline", "ZImagePipeline"),
        ("lumina2", "ZImagePipeline", "FluxPipeline"),
        ("hidream", "HiDreamImagePipeline", "FluxPipeline"),
        ("hunyuan-dit", "HunyuanDiTPipeline", "StableDiffusionPipeline"),
        ("stable-diffusion-xl-v1-refiner", "", "StableDiffusionXLPipeline"),
        ("hunyuan-video", "", "HunyuanImagePipeline"),
        ("something-new", "ZImagePipeline", ""),
    ],
)
def test_a_file_is_loaded_as_what_its_header_says(architecture: str, own: str, other: str) -> None:
    claims = collect_claims("a.safetensors", [], {"modelspec.architecture": architecture})
    if own:
        refuse_other_architecture(claims, own)
    if other:
        with pytest.raises(ModelRefusedError, match=f"it would be loaded as a {other}"):
            refuse_other_architecture(claims, other)

"""What a model's configuration says: the same as the loaded model, without a weight, and every refusal at once."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from imgaudit.models import load_model
from imgaudit.models.description import describe_model
from tests.support.tiny_families import make_qwen_image, make_sana
from tests.support.tiny_sdxl import make_sdxl
from tests.support.tiny_transformers import make_flux, make_pixart, make_sd3

# Raised inside diffusers' DPM-Solver; nothing of ours can avoid it.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

MAKERS: dict[str, Callable[[], Any]] = {
    "sdxl": make_sdxl, "sd3": make_sd3, "flux": make_flux, "pixart": make_pixart, "sana": make_sana,
    "qwen image": make_qwen_image,
}  # fmt: skip


def count(denoiser: Any) -> dict[str, int]:
    parts = denoiser.pipeline.components.items()
    networks = {name: part for name, part in parts if isinstance(part, torch.nn.Module)}
    return {name: sum(one.numel() for one in part.parameters()) for name, part in networks.items()}


@pytest.mark.parametrize("name", MAKERS)
def test_a_description_is_that_of_the_loaded_model(name: str, tmp_path: Path) -> None:
    MAKERS[name]().save_pretrained(tmp_path / "model")
    found, loaded = describe_model(str(tmp_path / "model")), load_model(str(tmp_path / "model"), "cpu")
    described: Any = found.denoiser
    assert found.refusals == [] and found.has_weights and described is not None
    for part in described.pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            assert {weight.device.type for weight in part.parameters()} == {"meta"}
    actual: Any = loaded.denoiser
    assert found.parameters == count(actual)
    for attribute in ("prediction_type", "no_null", "is_guided_by_null", "latent_shape", "resolution"):
        assert getattr(described, attribute) == getattr(actual, attribute), attribute
    assert found.count_bytes("float32") == 4 * sum(count(actual).values())
    assert found.count_bytes("bfloat16", offloaded=True) == 2 * max(count(actual).values())


@pytest.fixture
def copied(model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_folder, tmp_path / "model"))


def test_every_refusal_is_told_and_not_the_first_alone(copied: Path) -> None:
    (copied / "pytorch_lora_weights.safetensors").write_bytes(b"")
    (copied / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    (copied / "tokenizer" / "tokenizer_config.json").write_text('{"auto_map": {"a": "b.c"}}', encoding="utf-8")
    found = describe_model(str(copied), ["nowhere.safetensors"])
    told = " / ".join(found.refusals)
    assert found.denoiser is None and len(found.refusals) >= 4
    for reason in (
        "looks like a LoRA",
        "sets 'auto_map'",
        "has no regular file 'diffusion_pytorch_model.safetensors'",
        "nowhere.safetensors",
    ):
        assert reason in told, found.refusals


def test_without_weights_the_settings_are_described(model_folder: Path, copied: Path) -> None:
    for path in copied.rglob("*.safetensors"):
        path.unlink()
    found = describe_model(str(copied))
    assert not found.has_weights and found.refusals == []
    assert found.parameters == count(load_model(str(model_folder), "cpu").denoiser)


def test_a_configuration_of_no_known_size_is_refused_unbuilt(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgaudit.models.pipeline.MOST_TENSORS", 2000)
    for path in copied.rglob("*.safetensors"):
        path.unlink()
    config = copied / "text_encoder" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_hidden_layers": 900_000}), encoding="utf-8")
    assert "far larger network than any that is known" in " ".join(describe_model(str(copied)).refusals)


@pytest.mark.parametrize(
    ("model", "reason"), [("nowhere", "nowhere"), (".", "no model_index.json")], ids=["missing", "no model"]
)
def test_what_is_no_model_has_no_family(
    model: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = describe_model(model)
    assert found.family is found.denoiser is None and [reason in refusal for refusal in found.refusals] == [True]

"""LoRAs that are refused: hostile, damaged, or of another model than the one that they would be applied to."""

import json
import math
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from imgaudit.benchmark.robustness.broken_model import BrokenModel
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models import load_model
from imgaudit.models.lora import METADATA_KEY, USUAL_NAME, read_lora
from tests.conftest import make_pipeline, tiny_recipe
from tests.support.lora import RANK, save_lora
from tests.support.tiny_families import MAKERS


@pytest.fixture(scope="module")
def for_another(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA of the right family, but of a model that is wider."""
    pipeline = make_pipeline(tiny_recipe(unet_channels=(16, 64)))
    return save_lora(tmp_path_factory.mktemp("another"), pipeline, "unet")


@pytest.fixture
def written(tmp_path: Path, style: Path) -> Callable[..., Path]:
    """written(drop, add, noted) is the LoRA without some tensors, with others, and with other notes in its header."""

    def write(drop: str = "nothing", add: Mapping[str, torch.Tensor] | None = None, noted: Any = None) -> Path:
        kept = {name: value for name, value in load_file(style).items() if drop not in name}
        metadata = {"format": "pt"} | ({} if noted is None else {METADATA_KEY: json.dumps(noted)})
        path = tmp_path / "changed.safetensors"
        save_file(kept | dict(add or {}), path, metadata)
        return path

    return write


@pytest.mark.parametrize("weight", ["0", "0.0", "-0", "nan", "inf", "1e999"])
def test_a_weight_that_changes_nothing_or_everything_is_refused(weight: str, style: Path) -> None:
    with pytest.raises(ModelRefusedError, match="expected a finite number other than 0"):
        read_lora(f"{style}:{weight}")


def refused(model: Path, lora: Path | str) -> str:
    with pytest.raises(ModelRefusedError) as error:
        load_model(str(model), "cpu", [str(lora)])
    message = str(error.value)
    assert message.isprintable() and len(message) < 700
    return message


def test_alphas_that_cannot_be_told_apart_are_refused(model_folder: Path, style: Path, tmp_path: Path) -> None:
    tensors, matrices = {}, load_file(style)
    for number, layer in enumerate(("attn1_to_q", "attn1_to_v")):
        name = f"lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_{layer}"
        for end, kohya in (("lora_A", "lora_down"), ("lora_B", "lora_up")):
            first = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
            tensors[f"{name}.{kohya}.weight"] = matrices[f"{first}.{end}.weight"].clone()
        tensors[f"{name}.alpha"] = torch.tensor(1.0 + number)
    save_file(tensors, tmp_path / "equal.safetensors")
    assert "has equal layers with different alphas" in refused(model_folder, tmp_path / "equal.safetensors")


def test_a_lora_of_another_model_is_refused(
    model_folder: Path, other_model_folder: Path, for_another: Path, style: Path, tmp_path: Path
) -> None:
    assert "cannot be applied" in refused(model_folder, for_another)
    assert "LoRA" in refused(other_model_folder, style)
    xl = save_lora(tmp_path / "xl", MAKERS["StableDiffusionXLPipeline"](), "text_encoder_2")
    assert "fits no layer of this model" in refused(model_folder, xl)
    flux = save_lora(tmp_path / "flux", MAKERS["FluxPipeline"](), "transformer")
    assert "fits no layer of this model" in refused(model_folder, flux)


@pytest.mark.parametrize("drop", ["text_encoder.encoder.layers.0.self_attn.q_proj.lora_B", "attn2.to_v.lora_A"])
def test_a_lora_that_lacks_half_of_a_layer_is_refused(
    drop: str, model_folder: Path, written: Callable[..., Path]
) -> None:
    assert "LoRA" in refused(model_folder, written(drop=drop))


@pytest.mark.parametrize(
    "layer",
    [
        "unet.down_blocks.7.attentions.0.transformer_blocks.0.attn1.to_q",
        "text_encoder.encoder.layers.9.self_attn.q_proj",
        "text_encoder_2.encoder.layers.0.self_attn.q_proj",
        "transformer.blocks.0.attn.to_q",
        "somewhere.else",
    ],
)
def test_a_lora_that_fits_in_part_is_refused(layer: str, model_folder: Path, written: Callable[..., Path]) -> None:
    added = {f"{layer}.lora_A.weight": torch.ones(2, 32), f"{layer}.lora_B.weight": torch.ones(32, 2)}
    message = refused(model_folder, written(add=added))
    assert "fits this model only in part" in message or "cannot be applied" in message


def test_a_lora_that_changes_nothing_is_refused(model_folder: Path, style: Path, tmp_path: Path) -> None:
    zeros = {name: value * ("lora_A" in name) for name, value in load_file(style).items()}
    save_file(zeros, tmp_path / "zeros.safetensors")
    assert "changes no weight" in refused(model_folder, tmp_path / "zeros.safetensors")


def test_a_lora_that_is_not_finite_is_refused(model_folder: Path, written: Callable[..., Path]) -> None:
    name = "text_encoder.encoder.layers.0.self_attn.q_proj.lora_B.weight"
    for value in (math.nan, math.inf):
        refused(model_folder, written(add={name: torch.full((32, RANK), value)}))


@pytest.mark.parametrize(
    "name",
    [
        "unet.mid_block.attentions.0.proj_in.dora_scale", "lora_controlnet", "unet.conv_in.weight",
        "emb_params", "transformer.norm_q.weight",
    ],
)  # fmt: skip
def test_what_is_no_part_of_a_lora_is_refused(name: str, model_folder: Path, written: Callable[..., Path]) -> None:
    assert "is no part of a plain LoRA" in refused(model_folder, written(add={name: torch.ones(2, 2)}))


@pytest.mark.parametrize(
    "noted",
    [
        {"unet.r": 10**9},
        {"unet.rank_pattern": {"to_q": 10**9}},
        {"unet.rank_pattern": {"(a+)+$": 2}},
        {"unet.alpha_pattern": {"(a+)+$": 2}},
        {"unet.lora_alpha": math.nan},
        {"unet.target_modules": "(a+)+$"},
        {"unet.target_modules": ["(a+)+$"]},
        {"unet.use_dora": True},
        {"unet.init_lora_weights": "pissa"},
        {"unet.bias": "all"},
        {"unet.modules_to_save": ["conv_in"]},
        {"unet.loftq_config": {"loftq_bits": 4}},
        {"unet.auto_mapping": {"parent_library": "os"}},
        {"unet.layer_replication": [[0, 10**9]]},
        [1],
        "text",
    ],
)
def test_the_notes_of_a_lora_may_not_say_everything(
    noted: Any, model_folder: Path, written: Callable[..., Path]
) -> None:
    assert "is no part of a plain LoRA" in refused(model_folder, written(noted=noted))


def test_notes_that_cannot_be_parsed_are_refused(model_folder: Path, style: Path, tmp_path: Path) -> None:
    for text in ("{", "[" * 100_000):
        save_file(load_file(style), tmp_path / "notes.safetensors", {METADATA_KEY: text})
        assert "that cannot be parsed" in refused(model_folder, tmp_path / "notes.safetensors")


def test_a_pickled_lora_is_refused_and_never_opened(model_folder: Path, style: Path, tmp_path: Path) -> None:
    spoilt = BrokenModel(tmp_path / "loras", tmp_path / "executed", tmp_path)
    for name in ("a/pytorch_lora_weights.bin", "b/style.pt", "c/style.ckpt"):
        spoilt.write(name, spoilt.trap())
        assert "is pickled and can run code when opened" in refused(model_folder, spoilt.path / name)
        assert "is pickled and can run code when opened" in refused(model_folder, (spoilt.path / name).parent)
    spoilt.write("d/style.safetensors", spoilt.trap())
    assert "it is a pickle, which can run code when opened" in refused(model_folder, spoilt.path / "d")
    spoilt.write(f"e/{USUAL_NAME}", style.read_bytes())
    spoilt.write("e/pytorch_lora_weights.bin", spoilt.trap())
    assert load_model(str(model_folder), "cpu", [str(spoilt.path / "e")]).loras
    assert not spoilt.planted.exists()


def test_a_folder_has_to_say_which_file_is_meant(model_folder: Path, style: Path, tmp_path: Path) -> None:
    folder = tmp_path / "loras"
    folder.mkdir()
    assert "has no safetensors file" in refused(model_folder, folder)
    (folder / "out.safetensors").symlink_to(style)
    assert "is a link that leaves" in refused(model_folder, folder)
    shutil.copy(style, folder / "another.safetensors")
    assert "has 2 safetensors files" in refused(model_folder, folder)
    shutil.copy(style, folder / USUAL_NAME)
    assert read_lora(str(folder)).path.name == USUAL_NAME


def test_damaged_and_special_files_are_refused(model_folder: Path, style: Path, tmp_path: Path) -> None:
    (tmp_path / "short.safetensors").write_bytes(style.read_bytes()[:-8])
    assert "is damaged: its tensors take" in refused(model_folder, tmp_path / "short.safetensors")
    save_file({}, tmp_path / "empty.safetensors")
    assert "holds no tensor" in refused(model_folder, tmp_path / "empty.safetensors")
    (tmp_path / "style.gguf").write_bytes(b"GGUF")
    assert "is no safetensors file" in refused(model_folder, tmp_path / "style.gguf")
    os.mkfifo(tmp_path / "pipe.safetensors")
    assert "is not a regular file" in refused(model_folder, tmp_path / "pipe.safetensors")
    assert "was not found" in refused(model_folder, "owner/name")

"""Files that say more than the network reads: left-over weights, and keys that are there twice."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models import load_model

UNET, VAE, TEXT = (
    "unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
)  # fmt: skip


@pytest.fixture
def copied(model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_folder, tmp_path / "model"))


def add(file: Path, *names: str) -> None:
    save_file(load_file(file) | {name: torch.ones(3) for name in names}, file, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("file", "name"),
    [
        (UNET, "down_blocks.7.resnets.0.conv1.weight"),
        (UNET, "position_ids"),
        (VAE, "decoder.up_blocks.9.conv.weight"),
        (TEXT, "encoder.layers.40.mlp.fc1.weight"),
    ],
)
def test_weights_that_the_network_does_not_read_are_refused(copied: Path, file: str, name: str) -> None:
    add(copied / file, name)
    with pytest.raises(ModelRefusedError, match=f"1 weights that its config.json does not describe.*{name}"):
        load_model(str(copied), "cpu")


def test_left_overs_that_are_known_to_do_nothing_are_loaded(copied: Path) -> None:
    add(copied / TEXT, "text_model.embeddings.position_ids", "text_projection.weight", "logit_scale")
    load_model(str(copied), "cpu")


@pytest.mark.parametrize("file", ["unet/config.json", "scheduler/scheduler_config.json", "model_index.json"])
def test_a_configuration_with_a_key_twice_is_refused(copied: Path, file: str) -> None:
    text = (copied / file).read_text()
    key, value = next(iter(json.loads(text).items()))
    (copied / file).write_text(text.rstrip()[:-1].rstrip() + f', "{key}": {json.dumps(value)}}}')
    with pytest.raises(ModelRefusedError, match=f"is ambiguous: the key '{key}' is there twice"):
        load_model(str(copied), "cpu")


def test_a_header_of_weights_with_a_key_twice_is_refused(copied: Path) -> None:
    data = (copied / UNET).read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length].decode().rstrip()
    name, entry = next((name, entry) for name, entry in json.loads(header).items() if name != "__metadata__")
    doubled = (header[:-1] + f', "{name}": {json.dumps(entry)}}}').encode()
    (copied / UNET).write_bytes(len(doubled).to_bytes(8, "little") + doubled + data[8 + length :])
    with pytest.raises(ModelRefusedError, match="is there twice"):
        load_model(str(copied), "cpu")

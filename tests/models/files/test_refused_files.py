"""Single files that are refused: spoilt ones, lying ones, pickles, and those of another model."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models import load_model
from imgaudit.models.files.claims import UNET
from tests.support.single_files import Tensors, change_file, save


def drop(tensors: Tensors) -> None:
    del tensors[next(name for name in tensors if "middle_block.1" in name)]


def poison(tensors: Tensors) -> None:
    next(tensor for name, tensor in tensors.items() if "input_blocks.1.0" in name).view(-1)[0] = float("nan")


def poison_text(tensors: Tensors) -> None:
    next(tensor for name, tensor in tensors.items() if "cond_stage_model" in name).view(-1)[0] = float("inf")


def drop_text(tensors: Tensors) -> None:
    del tensors[next(name for name in tensors if "final_layer_norm" in name)]


def add_a_block(tensors: Tensors) -> None:
    tensors.update({name.replace("middle_block.2", "middle_block.4"): one for name, one in list(tensors.items())})


def add_a_text_layer(tensors: Tensors) -> None:
    tensors.update({name.replace("encoder.layers.0", "encoder.layers.1"): one for name, one in list(tensors.items())})


def add_a_lora(tensors: Tensors) -> None:
    tensors["lora_unet_mid.lora_down.weight"] = torch.zeros(2, 2)


def widen(tensors: Tensors) -> None:
    tensors[UNET + "input_blocks.0.0.weight"] = torch.zeros(16, 9, 3, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop, "'unet' lacks 1 of the weights"),
        (drop_text, "'text_encoder' lacks 1 of the weights"),
        (poison, "'unet' has weights that are not finite"),
        (poison_text, "'text_encoder' has weights that are not finite"),
        (add_a_block, "holds more than the weights of a StableDiffusionPipeline's 'unet'"),
        (add_a_text_layer, "'text_encoder' has [0-9]+ weights that its config.json does not describe"),
        (add_a_lora, "holds a LoRA or an embedding"),
        (widen, r"'conv_in.weight' is \(16, 9, 3, 3\)"),
    ],
)
def test_a_spoilt_file_is_refused(
    change: Callable[[Tensors], None], message: str, files: dict[str, Path], folders: dict[str, Path], tmp_path: Path
) -> None:
    file = change_file(files["tiny"], tmp_path / "spoilt.safetensors", change)
    with pytest.raises(ModelRefusedError, match=message) as refused:
        load_model(str(file), "cpu", config=str(folders["tiny"]))
    assert str(refused.value).isprintable() and len(str(refused.value)) < 600


def test_a_lying_header_is_refused_unread(files: dict[str, Path], folders: dict[str, Path], tmp_path: Path) -> None:
    data = files["tiny"].read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    first, second = sorted((name for name in header if name != "__metadata__"), key=lambda one: -len(one))[:2]
    overlapping = header | {first: header[first] | {"data_offsets": header[second]["data_offsets"]}}
    overlapping[first]["shape"] = header[second]["shape"]
    for changed, message in (
        (json.dumps(overlapping).encode(), "is damaged"),
        (b"{" * 5000, "its header is no JSON"),
        (json.dumps(header | {f"{number}": header[first] for number in range(20_000)}).encode(), "is damaged"),
    ):
        file = tmp_path / "lying.safetensors"
        file.write_bytes(len(changed).to_bytes(8, "little") + changed + data[end:])
        with pytest.raises(ModelRefusedError, match=message):
            load_model(str(file), "cpu", config=str(folders["tiny"]))
    file.write_bytes((2**60).to_bytes(8, "little") + data[8:])
    with pytest.raises(ModelRefusedError, match="its header would have"):
        load_model(str(file), "cpu", config=str(folders["tiny"]))


def test_more_tensors_than_any_model_has_are_refused(tmp_path: Path) -> None:
    file = save({f"{number}": torch.zeros(0) for number in range(10_001)}, tmp_path / "many.safetensors")
    with pytest.raises(ModelRefusedError, match="has 10,001 tensors"):
        load_model(str(file), "cpu")


@pytest.mark.parametrize("suffix", ["ckpt", "pt", "bin", "pth"])
def test_pickles_are_refused_unopened(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"model.{suffix}").write_bytes(b"\x80")
    with pytest.raises(ModelRefusedError, match="is pickled and can run code when opened, so it was not: convert it"):
        load_model(str(tmp_path / f"model.{suffix}"), "cpu")


def test_a_configuration_of_another_family_is_refused(files: dict[str, Path], folders: dict[str, Path]) -> None:
    with pytest.raises(
        ModelRefusedError, match=r"holds the weights of a StableDiffusionXLPipeline, but .* of a 'Stable"
    ):
        load_model(str(files["xl"]), "cpu", config=str(folders["tiny"]))
    with pytest.raises(ModelRefusedError, match=r"holds 'text_encoder_3', which model_index.json does without"):
        load_model(str(files["sd3"]), "cpu", config=str(folders["sd3 without t5"]))
    with pytest.raises(ModelRefusedError, match="holds more than the weights of a StableDiffusionPipeline's 'vae'"):
        load_model(str(files["other"]), "cpu", config=str(folders["tiny"]))


def test_without_a_configuration_the_hub_is_asked_or_the_option_named(
    files: dict[str, Path], folders: dict[str, Path]
) -> None:
    with pytest.raises(ModelRefusedError, match=r"--model-config FOLDER, because 'stable-diffusion-v1-5/.*not cached"):
        load_model(str(files["tiny"]), "cpu")
    with pytest.raises(ModelRefusedError, match=r"configuration './nowhere' was not found"):
        load_model(str(files["tiny"]), "cpu", config="./nowhere")
    with pytest.raises(ModelRefusedError, match="which has no variant 'fp16'"):
        load_model(str(files["tiny"]), "cpu", config=str(folders["tiny"]), variant="fp16")


def test_a_folder_takes_no_other_configuration(folders: dict[str, Path]) -> None:
    with pytest.raises(ModelRefusedError, match="is a folder with a configuration of its own"):
        load_model(str(folders["tiny"]), "cpu", config=str(folders["tiny"]))


def test_other_files_are_refused_with_what_is_expected(tmp_path: Path, style: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    file = save({"transformer_blocks.0.attn.to_q.weight": torch.zeros(2, 2)}, tmp_path / "part.safetensors")
    with pytest.raises(ModelRefusedError, match="is in no layout that this version knows"):
        load_model(str(file), "cpu")
    with pytest.raises(ModelRefusedError, match="holds a LoRA"):
        load_model(str(style), "cpu")


def test_flux_of_another_width_is_refused(files: dict[str, Path], folders: dict[str, Path]) -> None:
    with pytest.raises(ModelRefusedError, match=r"'transformer' in .* cannot be converted; is it of another model"):
        load_model(str(files["flux"]), "cpu", config=str(folders["flux"]))

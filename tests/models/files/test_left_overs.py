"""Tensors of a single file that no network reads: known to do nothing, told, or refused; never dropped silently."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models import load_model
from tests.models.files.test_claims import Loader, load, plain

__all__ = ["load", "plain"]

ONE = torch.ones(3)


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ({"text_encoders.extra.weight": ONE}, "holds 1 tensor that no part of its model reads"),
        ({"vae.decoder.conv_in.bias": ONE}, "(such as 'vae.decoder.conv_in.bias'): they would be left out"),
        ({"cond_stage_model.model.ln_final.weight": ONE}, "that no part of its model reads"),
        ({"conditioner.embedders.1.model.ln_final.weight": ONE}, "that no part of its model reads"),
        ({"first_stage_model.decoder.up.7.block.0.conv1.weight": ONE}, "holds more than the weights of"),
        ({"control_model.input_blocks.0.0.weight": ONE}, "or another adapter ('control_model.input"),
        ({"ip_adapter.1.to_k_ip.weight": ONE}, "or another adapter ('ip_adapter.1"),
        ({"bundle_emb.style.string_to_param.*": ONE}, "or another adapter ('bundle_emb.style"),
        ({"lokr_unet_mid.lokr_w1": ONE}, "or another adapter ('lokr_unet_mid"),
        ({"model.diffusion_model.time_embed.0.hada_w1_a": ONE}, "or another adapter ('model.diff"),
        ({"lora_te_text_model_encoder.alpha": ONE}, "holds a LoRA or an embedding"),
    ],
)  # fmt: skip
def test_what_belongs_to_no_part_is_refused(added: Mapping[str, torch.Tensor], message: str, load: Loader) -> None:
    assert message in load.refused(added)


def test_averaged_weights_are_told(load: Loader) -> None:
    [note] = load({"model_ema.diffusion_modelinput_blocks00weight": ONE, "model_ema.decay": torch.ones(())}).notes
    assert "holds 2 tensors of averaged weights (EMA)" in note and "the plain ones are audited" in note


def test_the_schedule_in_a_file_has_to_be_its_configurations(load: Loader) -> None:
    alphas = load({}).denoiser.pipeline.scheduler.alphas_cumprod  # type: ignore[attr-defined]
    assert not load({"alphas_cumprod": alphas.clone(), "betas": ONE.clone(), "logvar": ONE}).notes
    assert "that is not the one of scheduler_config.json: it differs" in load.refused({"alphas_cumprod": alphas**2})
    assert "it has 3 of 1,000 steps" in load.refused({"alphas_cumprod": ONE})
    assert "says that latents are scaled by 9 (scale_factor)" in load.refused({"scale_factor": torch.tensor(9.0)})
    vae = load.folder / "vae" / "config.json"
    vae.write_text(json.dumps(json.loads(vae.read_text()) | {"scaling_factor": "much"}))
    assert "cannot be loaded" in load.refused({"scale_factor": torch.tensor(9.0)})


@pytest.mark.parametrize(
    "added",
    [
        {"scaled_fp8": torch.zeros(0).to(torch.float8_e4m3fn)},
        {"model.diffusion_model.scaled_fp8": torch.zeros(2).to(torch.float8_e4m3fn)},
        {"model.diffusion_model.time_embed.0.scale_weight": torch.ones(())},
        {"model.diffusion_model.time_embed.0.weight_scale": torch.ones(())},
        {"model.diffusion_model.time_embed.0.input_scale": torch.ones(())},
        {"model.diffusion_model.time_embed.0.comfy_quant": torch.zeros(4, dtype=torch.uint8)},
        {"model.diffusion_model.time_embed.0.weight.absmax": ONE},
        {"model.diffusion_model.time_embed.0.weight.quant_state.bitsandbytes__nf4": torch.zeros(4, dtype=torch.uint8)},
        {"model.diffusion_model.time_embed.0.SCB": ONE},
    ],
    ids=lambda added: next(iter(added)),
)
def test_weights_with_scales_beside_them_are_refused(added: Mapping[str, torch.Tensor], load: Loader) -> None:
    message = load.refused(added)
    assert "scales beside them" in message and next(iter(added)) in message


def test_scales_that_only_the_header_names_are_refused(load: Loader) -> None:
    assert "('_quantization_metadata')" in load.refused({}, {"_quantization_metadata": "{}"})


def test_weights_that_are_whole_numbers_are_refused(load: Loader, model_folder: Path, tmp_path: Path) -> None:
    name = "model.diffusion_model.time_embed.0.weight"
    whole = load.plain[name].mul(100).to(torch.int8)
    assert f"weights that are whole numbers ('{name}' is I8)" in load.refused({name: whole})
    unet = load.folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(unet)
    save_file(tensors | {"conv_in.weight": tensors["conv_in.weight"].to(torch.int8)}, unet, {"format": "pt"})
    with pytest.raises(ModelRefusedError, match=r"'conv_in.weight' is I8"):
        load_model(str(load.folder), "cpu")


def test_weights_beside_the_components_of_a_folder_are_told(load: Loader) -> None:
    (load.folder / "unet_ema").mkdir()
    save_file({"conv_in.weight": ONE}, load.folder / "unet_ema" / "diffusion_pytorch_model.safetensors")
    [note] = load_model(str(load.folder), "cpu").notes
    assert "holds weights in 'unet_ema'" in note

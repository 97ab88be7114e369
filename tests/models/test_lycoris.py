"""LoHa and LoKr: fused as another implementation computes them, wholly or not at all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoHaConfig, LoKrConfig, get_peft_model_state_dict, inject_adapter_in_model
from safetensors.torch import save_file

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models import load_model
from imgaudit.models.lora import fuse_lora, read_lora
from imgaudit.models.lycoris import is_lycoris
from tests.conftest import make_pipeline, tiny_recipe

RANK, ALPHA = 1, 3.0
"""Ranks above half of a factor's side would be left out by peft, which then scales by alpha what LyCORIS does not."""
LAYERS = {"unet": ["to_q", "conv1"], "text_encoder": ["q_proj", "fc1"]}
CONFIGS: dict[str, Callable[..., Any]] = {
    "loha": LoHaConfig,
    "lokr of products": lambda **given: LoKrConfig(**given, decompose_both=True, decompose_factor=4),
    "lokr of a matrix and a product": lambda **given: LoKrConfig(**given, decompose_factor=4),
}
Weights = dict[str, torch.Tensor]


def make_base() -> Any:
    return make_pipeline(tiny_recipe())


def write(path: Path, tensors: Weights) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path


def train(kind: str, network: torch.nn.Module, layers: list[str]) -> tuple[Weights, Weights]:
    """The matrices of an add-on by the names of modules, and the change of each weight as peft computes it."""
    torch.manual_seed(3)
    config = CONFIGS[kind](r=RANK, alpha=ALPHA, target_modules=layers, init_weights=False)
    inject_adapter_in_model(config, network, "default")
    deltas = {
        name: module.get_delta_weight("default").detach()
        for name, module in network.named_modules()
        if hasattr(module, "get_delta_weight")
    }
    return {name: tensor.detach().clone() for name, tensor in get_peft_model_state_dict(network).items()}, deltas


def name_as_kohya(network: str, tensors: Weights) -> Weights:
    """The notation of kohya: a prefix, module names without dots, and an alpha beside the matrices of each."""
    prefix = {"unet": "lora_unet_", "text_encoder": "lora_te_text_model_"}[network]
    named: Weights = {}
    for name, tensor in tensors.items():
        module, _, ending = name.rpartition(".")
        layer = prefix + module.removeprefix("text_model.").replace(".", "_")
        named |= {f"{layer}.{ending}": tensor, f"{layer}.alpha": torch.tensor(ALPHA)}
    return named


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_weights_change_as_peft_computes_it(kind: str, tmp_path: Path) -> None:
    tensors: Weights = {}
    expected: Weights = {}
    for name, layers in LAYERS.items():
        held, deltas = train(kind, make_base().components[name], layers)
        tensors |= name_as_kohya(name, held)
        expected |= {f"{name}.{module}": delta for module, delta in deltas.items()}
    path, pipeline, base = write(tmp_path / "style.safetensors", tensors), make_base(), make_base()
    fuse_lora(pipeline, read_lora(f"{path}:0.5"))
    changed = {
        f"{name}.{key.removesuffix('.weight')}": value - base.components[name].state_dict()[key]
        for name in LAYERS
        for key, value in pipeline.components[name].state_dict().items()
        if not torch.equal(value, base.components[name].state_dict()[key])
    }
    assert len(changed) >= 6 and changed.keys() == expected.keys()
    for layer, delta in expected.items():
        torch.testing.assert_close(changed[layer], 0.5 * delta.reshape(changed[layer].shape), rtol=1e-4, atol=1e-6)


def test_of_two_whole_matrices_alpha_changes_nothing(tmp_path: Path) -> None:
    base = make_base()
    layer = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    held = base.unet.get_submodule("mid_block.attentions.0.transformer_blocks.0.attn1.to_q").weight.detach().clone()
    first, second = torch.randn(2, 2), torch.randn(len(held) // 2, held.shape[1] // 2)
    for alpha in (1.0, 7.0):
        tensors = {f"{layer}.lokr_w1": first, f"{layer}.lokr_w2": second, f"{layer}.alpha": torch.tensor(alpha)}
        pipeline = make_base()
        fuse_lora(pipeline, read_lora(str(write(tmp_path / "whole.safetensors", tensors))))
        changed = pipeline.unet.get_submodule("mid_block.attentions.0.transformer_blocks.0.attn1.to_q").weight - held
        torch.testing.assert_close(changed.detach(), torch.kron(first, second), rtol=1e-4, atol=1e-6)


def test_a_model_with_a_lycoris_is_loaded_and_named(model_folder: Path, tmp_path: Path) -> None:
    held, _ = train("loha", make_base().unet, LAYERS["unet"])
    path = write(tmp_path / "style.safetensors", name_as_kohya("unet", held))
    loaded, base = load_model(str(model_folder), "cpu", [str(path)]), load_model(str(model_folder), "cpu")
    assert loaded.name.endswith("style.safetensors x 1")
    assert loaded.denoiser.fingerprint != base.denoiser.fingerprint


LAYER = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
ONES = {f"{LAYER}.{name}": torch.ones(32, 2) if name.endswith("_a") else torch.ones(2, 32) for name in
        ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")}  # fmt: skip


def change(**changes: torch.Tensor | None) -> Weights:
    """A LoHa of one layer with some of its tensors replaced, added or (None) left out."""
    tensors = ONES | {f"{LAYER}.{name}": tensor for name, tensor in changes.items() if tensor is not None}
    return {name: one for name, one in tensors.items() if changes.get(name.rpartition(".")[2], one) is not None}


REFUSED: dict[str, tuple[Weights, str]] = {
    "a dora": (change(dora_scale=torch.ones(32, 1)), "is a DoRA .* merge it into the model first"),
    "a core": (change(hada_t1=torch.ones(2, 2, 3, 3)), "is a LyCORIS with a core"),
    "another tensor": (change(diff_b=torch.ones(32)), "holds '.*diff_b', which is no part of a LoHa or LoKr"),
    "half a layer": (change(hada_w2_b=None), "lacks 'hada_w2_b'"),
    "two kinds": (change(lokr_w1=torch.ones(2, 2)), "has 'lokr_w1' besides"),
    "sizes that do not fit": (change(hada_w1_b=torch.ones(3, 32)), "sizes do not fit together"),
    "another size": (
        {name: torch.ones(16, 2) if name.endswith("_a") else one for name, one in ONES.items()},
        r"by \(16, 32\) numbers, but the layer has \(32, 32\)",
    ),
    "no number": (change(hada_w1_a=torch.full((32, 2), float("nan"))), "by no finite number"),
    "an alpha of no number": (change(alpha=torch.tensor(float("inf"))), "has an alpha of inf"),
    "nothing": (change(hada_w1_a=torch.zeros(32, 2)), "changes no weight"),
    "another model": ({f"lora_unet_{name}": one for name, one in ONES.items()}, "fits no layer of this model"),
    "in part": (
        ONES | {f"lora_unet_{name}": one.clone() for name, one in ONES.items()},
        "only in part: 1 of its 2 layers",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_cannot_be_applied_wholly_is_refused(fault: str, tmp_path: Path) -> None:
    tensors, told = REFUSED[fault]
    path = write(tmp_path / "style.safetensors", tensors)
    with pytest.raises(ModelRefusedError, match=told):
        fuse_lora(make_base(), read_lora(str(path)))


def test_a_plain_lora_is_none() -> None:
    assert not is_lycoris({"lora_unet_conv_in.lora_up.weight": (4, 4), "lora_unet_conv_in.alpha": ()})

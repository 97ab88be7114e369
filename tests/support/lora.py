"""LoRAs as training scripts save them, untrained, and what they should change."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from safetensors.torch import load_file, save_file

from imgaudit.models.lora import USUAL_NAME

RANK, ALPHA = 2, 3.0
ATTENTION = {
    "unet": ["to_q", "to_v"],
    "transformer": ["to_q", "to_v"],
    "text_encoder": ["q_proj", "k_proj", "v_proj", "out_proj", "fc1"],
}

Weights = dict[str, torch.Tensor]


def untrained(network: torch.nn.Module, layers: list[str], seed: int) -> Weights:
    """A LoRA whose matrices are random, so that it changes every layer it is for."""
    torch.manual_seed(seed)
    inject_adapter_in_model(LoraConfig(r=RANK, target_modules=layers, init_lora_weights=False), network, "default")
    weights: Weights = {key: value.clone() for key, value in get_peft_model_state_dict(network).items()}
    return weights


def save_lora(folder: Path, pipeline: Any, *networks: str, seed: int = 0, metadata: bool = False) -> Path:
    """What diffusers' training scripts save, for some networks of a pipeline; its alpha is the rank if not noted."""
    options: dict[str, Any] = {}
    for number, name in enumerate(networks):
        layers = ATTENTION[name.removesuffix("_2")]
        options[f"{name}_lora_layers"] = untrained(pipeline.components[name], layers, seed + number)
        if metadata:
            noted = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=layers).to_dict()
            options[f"{name}_lora_adapter_metadata"] = noted
    pipeline.save_lora_weights(folder, **options)
    return folder / USUAL_NAME


def save_every_layer(folder: Path, pipeline: Any, name: str, as_peft: bool = False) -> tuple[Path, Weights]:
    """A LoRA of every linear layer of one network, with ranks and alphas of its own for each.

    as_peft:  whether it is saved as peft saves it, and not as diffusers does
    Returned are what is saved, and by the names of the weights what they should change by, float64.
    """
    generator = torch.Generator().manual_seed(5)
    tensors: Weights = {}
    changes: Weights = {}
    ranks, alphas = {}, {}
    linear = {key: one for key, one in pipeline.components[name].named_modules() if isinstance(one, torch.nn.Linear)}
    for number, (layer, module) in enumerate(linear.items()):
        ranks[f"^{layer}$"], alphas[f"^{layer}$"] = rank, alpha = RANK + number % 2, ALPHA + number % 3
        down = torch.randn(rank, module.in_features, generator=generator)
        up = torch.randn(module.out_features, rank, generator=generator)
        tensors |= {f"{layer}.lora_A.weight": down, f"{layer}.lora_B.weight": up}
        changes[f"{layer}.weight"] = alpha / rank * up.double() @ down.double()
    config = LoraConfig(
        r=RANK, lora_alpha=7, rank_pattern=ranks, alpha_pattern=alphas, target_modules=list(linear), task_type=None
    )
    if as_peft:
        config.save_pretrained(folder)
        named = {f"base_model.model.{key}": tensor for key, tensor in tensors.items()}
        save_file(named, folder / "adapter_model.safetensors")
        return folder, changes
    noted = config.to_dict()
    given = {f"{name}_lora_layers": tensors, f"{name}_lora_adapter_metadata": noted}
    if hasattr(pipeline, "save_lora_weights"):
        pipeline.save_lora_weights(folder, **given)
    else:
        folder.mkdir()
        save_file({f"{name}.{key}": tensor for key, tensor in tensors.items()}, folder / USUAL_NAME)
    return folder / USUAL_NAME, changes


def products(path: Path, scale: float) -> Weights:
    """What a file says that it changes."""
    weights = load_file(path)
    layers = [name.removesuffix(".lora_A.weight") for name in weights if name.endswith(".lora_A.weight")]
    # Some text encoders have this prefix and some do not.
    return {
        layer.replace(".text_model.", "."): scale
        * weights[f"{layer}.lora_B.weight"]
        @ weights[f"{layer}.lora_A.weight"]
        for layer in layers
    }

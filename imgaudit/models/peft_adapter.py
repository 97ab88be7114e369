"""LoRAs as peft's own `save_pretrained` leaves them: a file of weights, and adapter_config.json beside it.

Its names are those of one network, without saying which, and the alpha is in the configuration only. diffusers reads
neither, so the names are changed here and every layer's scale is computed as peft does.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from imgaudit.exceptions import ModelRefusedError
from imgaudit.io.reading import hash_file
from imgaudit.models.files.inspection import AGAIN, find_file_kind, quote, read_json, refuse_leaving
from imgaudit.models.files.weights import Shapes

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
"""Names that peft gives to the two files."""

PREFIX = "base_model.model."
"""Beginning of all names in such a file."""

DOWN, UP = ".lora_A.weight", ".lora_B.weight"
"""Endings of the two matrices of a layer."""

FORMAT = "a LoRA in the format of peft's save_pretrained"
"""Name of the format in messages."""


@dataclass(frozen=True)
class PeftAdapter:
    """Such a LoRA, read and given the names of one network."""

    network: str
    """The pipeline's name for that network."""
    tensors: Mapping[str, torch.Tensor]
    """Its matrices by diffusers' names: network, layer, lora_A or lora_B."""
    scales: Mapping[str, float]
    """Factor of each layer's change of the weights, by the layer's name in the network."""


def is_peft_file(shapes: Shapes) -> bool:
    """Return True when a file's tensors have the names that peft gives them."""
    return any(name.startswith(PREFIX) for name in shapes)


def find_peft_config(path: Path) -> Path:
    """Return the configuration beside a file of peft's. Raises ModelRefusedError when it is not there."""
    config = path.parent / CONFIG
    if find_file_kind(config) != "file":
        raise ModelRefusedError(f"LoRA {quote(path)} is {FORMAT}, whose alpha is in {CONFIG}; put that file beside it")
    refuse_leaving(config, path.parent)
    return config


def refuse_peft_adapter(path: Path, shapes: Shapes) -> None:
    """Refuse an adapter of peft's that is no plain LoRA, or damaged: ModelRefusedError."""
    config = find_peft_config(path)
    settings = read_json(config)
    kind, mapping = settings.get("peft_type"), settings.get("auto_mapping")
    if not isinstance(mapping, dict | None):
        raise ModelRefusedError(f"{quote(config)} sets auto_mapping to {mapping!r:.80}; expected an object or null")
    if kind != "LORA":
        raise ModelRefusedError(
            f"{quote(config)} says that this is an adapter of peft's kind {kind!r:.40}; of these, only LORA is "
            "applied: merge it into the model first"
        )
    layers = {name.removesuffix(end) for name in shapes for end in (DOWN, UP) if name.endswith(end)}
    for name in shapes:
        if not (name.startswith(PREFIX) and name.endswith((DOWN, UP))):
            raise ModelRefusedError(
                f"LoRA {quote(path)} is {FORMAT}, but holds {name!r:.99}, which is no part of a plain LoRA and would "
                "be left out: merge it into the model first"
            )
    for layer in sorted(layers):
        if not {layer + DOWN, layer + UP} <= shapes.keys():
            raise ModelRefusedError(f"LoRA {quote(path)} lacks one of the two matrices of {layer!r:.99}; {AGAIN}")


def hash_peft_adapter(path: Path) -> str:
    """Return one SHA-256 over the file of weights and its configuration: both decide what it does."""
    parts = [hash_file(path), hash_file(find_peft_config(path))]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def read_peft_adapter(path: Path, networks: Mapping[str, torch.nn.Module]) -> PeftAdapter:
    """Read a LoRA that was inspected, for the one of a pipeline's networks that has all of its layers.

    Raises ModelRefusedError when none has, or more than one.
    """
    config, held = read_json(path.parent / CONFIG), load_file(path)
    named = (config.get("auto_mapping") or {}).get("base_model_class")
    meant = {name: one for name, one in networks.items() if type(one).__name__ == named}
    layers = sorted({name.removesuffix(DOWN) for name in held if name.endswith(DOWN)})
    fits = {
        name: found for name, network in (meant or networks).items() if (found := _find_layers(network, layers, held))
    }
    if not fits:
        raise ModelRefusedError(
            f"LoRA {quote(path)} is {FORMAT}; no part of this model ({', '.join(sorted(networks))}) has all of its "
            f"{len(layers)} layers in these shapes (such as {layers[0].removeprefix(PREFIX)!r:.99}), so it was trained "
            "on another one"
        )
    if len(fits) > 1:
        raise ModelRefusedError(
            f"LoRA {quote(path)} is {FORMAT}, which does not say what part of the model it is for; it fits "
            f"{' and '.join(sorted(fits))}: merge it into the model first, or save it with diffusers"
        )
    network, places = next(iter(fits.items()))
    tensors = {f"{network}.{places[layer]}{end}": held[layer + end] for layer in layers for end in (DOWN, UP)}
    scales = {places[layer]: _scale(config, layer, len(held[layer + DOWN])) for layer in layers}
    return PeftAdapter(network, tensors, scales)


def _find_layers(network: torch.nn.Module, layers: list[str], held: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Return the network's own names of the layers; empty unless it has all of them, in their shapes."""
    weights = {name.removesuffix(".weight"): tensor.shape for name, tensor in network.named_parameters()}
    found = {}
    for layer in layers:
        plain = layer.removeprefix(PREFIX)
        # transformers' text encoders have had this prefix in some versions.
        names = (plain, plain.removeprefix("text_model."), f"text_model.{plain}")
        name = next((one for one in names if one in weights), None)
        down, up = held[layer + DOWN].shape, held[layer + UP].shape
        if name is None or (up[0], down[1]) != tuple(weights[name][:2]) or up[1] != down[0]:
            return {}
        found[layer] = name
    return found


def _scale(config: Mapping[str, Any], layer: str, rank: int) -> float:
    """Return alpha / rank, or alpha / sqrt(rank) where the adapter is rank-stabilised (arXiv 2312.03732)."""
    name, alpha = layer.removeprefix(PREFIX), config.get("lora_alpha", 8)
    for pattern, other in (config.get("alpha_pattern") or {}).items():
        plain = pattern.removeprefix("^").removesuffix("$")
        if name == plain or (name.endswith("." + plain) and not pattern.startswith("^")):
            alpha = other
            break
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)

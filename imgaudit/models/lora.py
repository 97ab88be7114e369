"""LoRA files: found, inspected, and fused into a pipeline's weights, wholly or not at all."""

import hashlib
import importlib.util
import json
import math
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file

from imgaudit.exceptions import ModelRefusedError
from imgaudit.io.reading import hash_file
from imgaudit.models.files.inspection import AGAIN, find_file_kind, quote, read_json, refuse_leaving
from imgaudit.models.files.weights import PICKLED_SUFFIXES, Shapes, read_metadata, read_shapes
from imgaudit.models.lora_origins import ALPHA, Conversion, convert_lora, digest
from imgaudit.models.lora_settings import UNUSED_KEYS, refuse_lora_settings
from imgaudit.models.lycoris import fuse_lycoris, is_lycoris, refuse_lycoris
from imgaudit.models.peft_adapter import WEIGHTS as PEFT_NAME
from imgaudit.models.peft_adapter import (
    find_peft_config,
    hash_peft_adapter,
    is_peft_file,
    read_peft_adapter,
    refuse_peft_adapter,
)

USUAL_NAME = "pytorch_lora_weights.safetensors"
"""File name that diffusers gives a LoRA in a folder."""

ADAPTER = "audited"
"""The name that a LoRA has between being loaded and being fused."""

METADATA_KEY = "lora_adapter_metadata"
"""Key under which diffusers keeps the configuration of a LoRA in the header of its file."""

NO_PEFT = "applying a LoRA takes the library peft, which is not installed: pip install 'imgaudit[lora]'"


@dataclass(frozen=True)
class Lora:
    """A LoRA to be fused into a model."""

    path: Path
    """Its safetensors file."""
    weight: float
    """Factor of its change of the weights."""
    sha256: str
    """SHA-256 of the file's bytes; of a file of peft's, over its bytes and those of adapter_config.json."""


def read_lora(text: str) -> Lora:
    """Inspect the LoRA that FILE_OR_FOLDER[:WEIGHT] names; its weight is 1 unless given.

    Raises ModelRefusedError for what is not there, pickled, damaged, or changes more than a LoRA does, and for a
    weight that is not a finite number other than 0.
    """
    path, weight = _split(text)
    path = _find_file(path)
    shapes = read_shapes(path)
    if not shapes:
        raise ModelRefusedError(f"LoRA {quote(path)} holds no tensor; {AGAIN}")
    if is_peft_file(shapes):
        refuse_peft_adapter(path, shapes)
        config = read_json(find_peft_config(path))
        refuse_lora_settings(path, {key: one for key, one in config.items() if key not in UNUSED_KEYS}, shapes)
        return Lora(path, weight, hash_peft_adapter(path))
    if is_lycoris(shapes):
        refuse_lycoris(path, shapes)
    else:
        _refuse_tensors(path, shapes)
    _refuse_metadata(path, shapes)
    return Lora(path, weight, hash_file(path))


def lora_fingerprint(fingerprint: str, loras: Sequence[Lora]) -> str:
    """Return the fingerprint of a model with LoRAs.

    It changes with the model, every byte of every LoRA, and every weight.

    >>> lora_fingerprint("f", [])
    'f'
    """
    if not loras:
        return fingerprint
    parts = [fingerprint, *([lora.sha256, lora.weight] for lora in loras)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _split(text: str) -> tuple[Path, float]:
    # A file whose own name ends with a colon and a number is meant as it stands.
    before, colon, after = text.rpartition(":")
    if not colon or find_file_kind(Path(text)) != "missing":
        return Path(text), 1.0
    try:
        weight = float(after)
    except ValueError:
        return Path(text), 1.0
    if not math.isfinite(weight) or weight == 0:
        raise ModelRefusedError(
            f"LoRA {text!r:.200} has the weight {after!r:.40}; expected a finite number other than 0, which would "
            "leave the model as it is"
        )
    return Path(before), weight


def _find_file(path: Path) -> Path:
    kind = find_file_kind(path)
    if kind == "folder":
        return _find_in(path)
    if kind != "file":
        what = "was not found" if kind == "missing" else "is not a regular file"
        raise ModelRefusedError(f"LoRA {str(path)!r:.200} {what}: expected a safetensors file or a folder with one")
    if path.suffix in PICKLED_SUFFIXES:
        raise _pickled(path)
    if path.suffix != ".safetensors":
        raise ModelRefusedError(f"LoRA {quote(path)} is no safetensors file: convert it first")
    return path


def _find_in(folder: Path) -> Path:
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        raise ModelRefusedError(f"LoRA folder {str(folder)!r:.200} cannot be listed: {error.strerror}") from error
    found = [path for path in files if path.suffix == ".safetensors" and find_file_kind(path) == "file"]
    usual = (USUAL_NAME, PEFT_NAME)
    chosen = next((named for name in usual if (named := [path for path in found if path.name == name])), found)
    if not chosen:
        if below := [path.name for path in files if find_file_kind(path / PEFT_NAME) == "file"]:
            raise ModelRefusedError(
                f"LoRA folder {str(folder)!r:.200} holds adapters in its folders {', '.join(map(repr, below[:4]))}: "
                "name each of them with --lora"
            )
        if pickled := [path for path in files if path.suffix in PICKLED_SUFFIXES]:
            raise _pickled(pickled[0])
        raise ModelRefusedError(f"LoRA folder {str(folder)!r:.200} has no safetensors file")
    if len(chosen) > 1:
        raise ModelRefusedError(
            f"LoRA folder {str(folder)!r:.200} has {len(chosen)} safetensors files: name the one that is meant"
        )
    refuse_leaving(chosen[0], folder)
    return chosen[0]


def _pickled(path: Path) -> ModelRefusedError:
    return ModelRefusedError(
        f"LoRA {quote(path)} is pickled and can run code when opened, so it was not: convert it to safetensors first"
    )


def _refuse_tensors(path: Path, shapes: Shapes) -> None:
    for name in shapes:
        if "dora_scale" in name or "lora_controlnet" in name or not ("lora" in name or name.endswith(".alpha")):
            raise ModelRefusedError(
                f"LoRA {quote(path)} holds {name!r:.99}, which is no part of a plain LoRA and would be left out: merge "
                "it into the model first"
            )


def _refuse_metadata(path: Path, shapes: Shapes) -> None:
    text = read_metadata(path).get(METADATA_KEY)
    if not text:
        return
    try:
        config = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelRefusedError(f"LoRA {quote(path)} has {METADATA_KEY} that cannot be parsed; {AGAIN}") from error
    refuse_lora_settings(path, config if isinstance(config, dict) else {"": config}, shapes)


def fuse_lora(pipeline: Any, lora: Lora) -> None:
    """Add a LoRA to the weights of a pipeline, which is an ordinary one afterwards.

    Raises ModelRefusedError when not every tensor of the file found its layer, or no weight changed, and whatever the
    libraries raise. The pipeline is of no use then.
    """
    networks = {name: part for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)}
    if is_lycoris(read_shapes(lora.path)):
        fuse_lycoris(networks, lora.path, lora.weight)
        return
    if importlib.util.find_spec("peft") is None:
        raise ModelRefusedError(NO_PEFT)
    if not hasattr(pipeline, "load_lora_weights"):
        raise ModelRefusedError(f"LoRA {quote(lora.path)}: diffusers applies none to a {type(pipeline).__name__}")
    before = {name: _weight_shapes(network) for name, network in networks.items()}
    _load(pipeline, networks, lora)
    touched = {name: layers for name, network in networks.items() if (layers := _layers(network))}
    old = {name: _digests(networks[name], layers, ".base_layer.weight") for name, layers in touched.items()}
    pipeline.fuse_lora(components=list(touched), lora_scale=lora.weight, safe_fusing=True, adapter_names=[ADAPTER])
    pipeline.unload_lora_weights()
    if {name: _weight_shapes(network) for name, network in networks.items()} != before:
        raise ModelRefusedError(f"LoRA {quote(lora.path)} adds layers to the model: merge it into the model first")
    if old == {name: _digests(networks[name], layers, ".weight") for name, layers in touched.items()}:
        raise ModelRefusedError(f"LoRA {quote(lora.path)} changes no weight, so that the model alone would be audited")


def _load(pipeline: Any, networks: Mapping[str, torch.nn.Module], lora: Lora) -> None:
    """Put a LoRA beside the layers that it is for. diffusers only logs what it leaves out; here it is refused."""
    options: dict[str, Any] = {"weight_name": lora.path.name, "use_safetensors": True, "local_files_only": True}
    blocks = {"unet_config": pipeline.unet.config} if {"unet", "text_encoder_2"} <= networks.keys() else {}
    # Of two networks with the same layers, LoRAs are for the one that diffusers puts them into.
    served = {name: one for name, one in networks.items() if name in pipeline._lora_loadable_modules}
    adapter = read_peft_adapter(lora.path, served) if is_peft_file(read_shapes(lora.path)) else None
    held = load_file(lora.path) if adapter is None else adapter.tensors
    matrices = {name: tensor for name, tensor in held.items() if not name.endswith(ALPHA)}
    # In diffusers' own names nothing is to be converted, and of most models it refuses alphas there.
    is_plain = all(name.partition(".")[0] in networks for name in held)

    def convert(tensors: dict[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        given = {name: tensor for name, tensor in tensors.items() if name in matrices or not is_plain}
        converted = pipeline.lora_state_dict(given, **options, **blocks)
        return cast(Mapping[str, torch.Tensor], converted[0] if isinstance(converted, tuple) else converted)

    conversion = convert_lora(lora.path, held, convert)
    # diffusers takes tensors as well, but then no configuration that is in the file's header.
    given: Any = str(lora.path.parent)
    if adapter is not None or (is_plain and len(matrices) < len(held)):
        given = matrices
    with _peft_for_text_encoders(networks), warnings.catch_warnings():
        # What peft warns of is looked at below.
        warnings.simplefilter("ignore", RuntimeWarning)
        pipeline.load_lora_weights(given, adapter_name=ADAPTER, low_cpu_mem_usage=False, **options)
    _refuse_losses(networks.values(), conversion, pipeline.dtype)
    if adapter is None:
        # Without a configuration diffusers gives some layers the alpha of another.
        scales = conversion.find_scales(pipeline.dtype, plain=METADATA_KEY not in read_metadata(lora.path))
        _set_scales(networks.values(), scales, pipeline.dtype)
        return
    for name, layer in networks[adapter.network].named_modules():
        if name in adapter.scales:
            cast(Any, layer).scaling[ADAPTER] = adapter.scales[name]


def _refuse_losses(networks: Iterable[torch.nn.Module], conversion: Conversion, dtype: torch.dtype) -> None:
    """Refuse a LoRA of which a tensor is not beside any layer now: ModelRefusedError."""
    held = [name for name in conversion.held if not name.endswith(ALPHA)]
    expected = {name: digest(tensor, dtype) for name, tensor in conversion.tensors.items()}
    found = Counter(
        digest(weight, dtype)
        for network in networks
        for name, weight in network.named_parameters()
        if f".{ADAPTER}." in name
    )
    if not found:
        raise ModelRefusedError(
            f"LoRA {quote(conversion.path)} fits no layer of this model (such as {held[0]!r:.99}): it was trained on "
            "another one, or its names are in a format that this version does not read"
        )
    missing = Counter(expected.values()) - found
    lost = {conversion.origins[name].name for name, one in expected.items() if one in missing}
    lost |= set(conversion.list_left_out())
    if lost or found != Counter(expected.values()):
        raise ModelRefusedError(
            f"LoRA {quote(conversion.path)} fits this model only in part ({len(lost)} of its {len(held)} tensors have "
            f"no layer, such as {min(lost, default=held[0])!r:.99}): it was trained on another one, or some of its "
            "names are in a format that this version does not read"
        )


def _set_scales(
    networks: Iterable[torch.nn.Module], scales: Mapping[tuple[bytes, bytes], float], dtype: torch.dtype
) -> None:
    beside: list[Any] = [module for network in networks for module in network.modules()]
    for module in beside:
        if ADAPTER in getattr(module, "lora_A", ()):
            pair = digest(module.lora_A[ADAPTER].weight, dtype), digest(module.lora_B[ADAPTER].weight, dtype)
            module.scaling[ADAPTER] = scales.get(pair, module.scaling[ADAPTER])


@contextmanager
def _peft_for_text_encoders(networks: Mapping[str, torch.nn.Module]) -> Iterator[None]:
    """Let diffusers put LoRA layers into text encoders by way of peft alone.

    transformers does no more than this, but only with a peft that is newer than the one diffusers asks for.
    """
    from peft import inject_adapter_in_model, set_peft_model_state_dict

    def load_adapter(encoder: Any, adapter_name: str, adapter_state_dict: Any, peft_config: Any) -> None:
        inject_adapter_in_model(peft_config, encoder, adapter_name)
        set_peft_model_state_dict(encoder, adapter_state_dict, adapter_name)

    encoders: list[Any] = [network for network in networks.values() if hasattr(network, "load_adapter")]
    for encoder in encoders:
        # An attribute of the instance goes before the method of its class.
        encoder.load_adapter = partial(load_adapter, encoder)
    try:
        yield
    finally:
        for encoder in encoders:
            del encoder.load_adapter


def _weight_shapes(network: torch.nn.Module) -> dict[str, torch.Size]:
    return {name: weight.shape for name, weight in network.state_dict().items()}


def _layers(network: torch.nn.Module) -> list[str]:
    """Return the names of the layers that a LoRA is beside."""
    return [
        name.removesuffix(".base_layer.weight") for name in network.state_dict() if name.endswith(".base_layer.weight")
    ]


def _digests(network: torch.nn.Module, layers: Iterable[str], weight: str) -> list[bytes]:
    state = network.state_dict()
    return [digest(state[layer + weight], state[layer + weight].dtype) for layer in layers]

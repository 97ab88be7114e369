"""Checkpoints of one file in their authors' layout: recognised, and converted by diffusers' own functions.

The conversion runs twice: on shapes alone, before a tensor is read, and on the tensors when they are loaded.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from diffusers.loaders import single_file_utils as convert
from safetensors import safe_open

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.families.family import Component
from imgaudit.models.files.claims import MARKERS, UNET, read_claims, refuse_other_architecture
from imgaudit.models.files.gguf_file import describe_quantisation, load_gguf, read_gguf
from imgaudit.models.files.inspection import find_file_kind, quote, read_json
from imgaudit.models.files.left_overs import check_left_overs
from imgaudit.models.files.transformer_layouts import (
    TRANSFORMERS,
    NetworkLocation,
    Tensors,
    name_unconverted,
    recognise_transformer,
)
from imgaudit.models.files.weights import (
    FLOAT8,
    PICKLED_SUFFIXES,
    Shapes,
    Weights,
    read_shapes,
    read_types,
    refuse_scaled,
    refuse_unmerged,
)
from imgaudit.models.library_errors import refuse_errors

MAX_TENSORS = 10_000
"""Files with more are refused: Stable Diffusion XL has 2,600 with all its parts, and diffusers compares all names."""

FLOAT8_DTYPES = (torch.float8_e4m3fn, torch.float8_e5m2)

KINDS: Mapping[str, str] = {
    "v1": "StableDiffusionPipeline",
    "v2": "StableDiffusionPipeline",
    "xl_base": "StableDiffusionXLPipeline",
    "sd3": "StableDiffusion3Pipeline",
    "sd35_medium": "StableDiffusion3Pipeline",
    "sd35_large": "StableDiffusion3Pipeline",
    "flux-dev": "FluxPipeline",
    "flux-schnell": "FluxPipeline",
    "flux-2-dev": "Flux2Pipeline",
    "chroma": "ChromaPipeline",
    "lumina2": "Lumina2Pipeline",
    "auraflow": "AuraFlowPipeline",
    "qwen-image-2.1": "QwenImage21Pipeline",
    "krea2": "Krea2Pipeline",
}
"""Pipeline classes by what diffusers calls their checkpoints."""


@dataclass(frozen=True)
class Checkpoint:
    """A single file that was inspected."""

    path: Path
    """The file."""
    pipeline_class: str
    """The diffusers class of what it holds."""
    shapes: Shapes
    """Its tensors, under the names that its authors gave them."""
    load: Callable[[Iterable[str]], Tensors]
    """Reads some of them."""
    quantised: str = ""
    """Kind of rounding of its weights; "" where there was none."""
    notes: tuple[str, ...] = ()
    """Sentences for the user: what it holds besides the model."""

    @property
    def parts(self) -> dict[str, NetworkLocation]:
        """The parts of a pipeline that it holds, by component."""
        return {part.component: part for part in reversed(LAYOUTS[self.pipeline_class]) if _names(part, self.shapes)}


def _unet(tensors: Tensors, config: Mapping[str, Any], prefix: str) -> Tensors:
    return convert.convert_ldm_unet_checkpoint(tensors, config)


def _vae(tensors: Tensors, config: Mapping[str, Any], prefix: str) -> Tensors:
    return convert.convert_ldm_vae_checkpoint(tensors, config)


def _sd3(tensors: Tensors, config: Mapping[str, Any], prefix: str) -> Tensors:
    return convert.convert_sd3_transformer_checkpoint_to_diffusers(tensors)


def _flux(tensors: Tensors, config: Mapping[str, Any], prefix: str) -> Tensors:
    return convert.convert_flux_transformer_checkpoint_to_diffusers(tensors)


def _as_it_is(tensors: Tensors, config: Mapping[str, Any], prefix: str) -> Tensors:
    # Older files number the positions, which no network looks up any more.
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if not name.endswith(".position_ids")}


def _clip(tensors: Tensors, config: Mapping[str, Any], prefix: str) -> Tensors:
    # Some programs save a projection that these pipelines do without.
    plain = _as_it_is(tensors, config, prefix)
    return {name: tensor for name, tensor in plain.items() if name != "text_projection.weight"}


def _clip_of_sd3(tensors: Tensors, config: Mapping[str, Any], prefix: str) -> Tensors:
    # Stable Diffusion 3 was trained on pooled states of its first encoder that are not projected.
    side = int(config["hidden_size"])
    return _as_it_is(tensors, config, prefix) | {
        "text_projection.weight": torch.eye(side, device=next(iter(tensors.values())).device)
    }


def _open_clip(tensors: Tensors, config: Mapping[str, Any], prefix: str) -> Tensors:
    like = SimpleNamespace(config=SimpleNamespace(hidden_size=int(config["hidden_size"])))
    return convert.convert_open_clip_checkpoint(like, tensors, prefix=prefix)


_VAES = (NetworkLocation("vae", "first_stage_model.", _vae), NetworkLocation("vae", "vae.", _vae))
_T5 = "text_encoders.t5xxl.transformer."
_OTHER_PARTS = ("first_stage_model.", "vae.", "text_encoders.")

# Of two rows for one component, the first that a file has tensors for counts.
LAYOUTS: Mapping[str, tuple[NetworkLocation, ...]] = {
    "StableDiffusionPipeline": (
        NetworkLocation("unet", UNET, _unet),
        NetworkLocation("text_encoder", "cond_stage_model.transformer.", _clip),
        NetworkLocation("text_encoder", "cond_stage_model.model.", _open_clip),
        *_VAES,
    ),
    "StableDiffusionXLPipeline": (
        NetworkLocation("unet", UNET, _unet),
        NetworkLocation("text_encoder", "conditioner.embedders.0.transformer.", _clip),
        NetworkLocation("text_encoder_2", "conditioner.embedders.1.model.", _open_clip),
        *_VAES,
    ),
    "StableDiffusion3Pipeline": (
        NetworkLocation("transformer", UNET, _sd3),
        NetworkLocation("transformer", "", _sd3),
        NetworkLocation("text_encoder", "text_encoders.clip_l.transformer.", _clip_of_sd3),
        NetworkLocation("text_encoder_2", "text_encoders.clip_g.transformer.", _as_it_is),
        NetworkLocation("text_encoder_3", _T5, _as_it_is),
        *_VAES,
    ),
    "FluxPipeline": (
        NetworkLocation("transformer", UNET, _flux),
        NetworkLocation("transformer", "", _flux),
        NetworkLocation("text_encoder", "text_encoders.clip_l.transformer.", _clip),
        NetworkLocation("text_encoder_2", _T5, _as_it_is),
        *_VAES,
    ),
    **TRANSFORMERS,
}
"""Places of the networks among the tensors of a single file, by pipeline class."""


def read_checkpoint(path: Path) -> Checkpoint:
    """Inspect the single file of a model; nothing is loaded.

    Raises ModelRefusedError for one that is pickled, damaged, a LoRA, or in none of the layouts that are known.
    """
    if find_file_kind(path) != "file":
        raise ModelRefusedError(f"{quote(path)} is not a regular file, but a pipe or a device")
    if path.suffix in PICKLED_SUFFIXES:
        raise ModelRefusedError(
            f"{quote(path)} is pickled and can run code when opened, so it was not: convert it to safetensors, or look "
            "for the safetensors file that most authors publish beside it"
        )
    load: Callable[[Iterable[str]], Tensors]
    if path.suffix == ".gguf":
        tensors = read_gguf(path)
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        load, quantised = partial(load_gguf, path, tensors), describe_quantisation(tensors.values())
    elif path.suffix == ".safetensors":
        shapes, load = read_shapes(path), partial(_load_safetensors, path)
        quantised = "float8" if FLOAT8 & set(read_types(path).values()) else ""
    else:
        raise ModelRefusedError(
            f"{quote(path)} is a single file, but neither safetensors nor GGUF: expected one of these, or a diffusers "
            "folder"
        )
    refuse_unmerged(path, shapes)
    if len(shapes) > MAX_TENSORS:
        raise ModelRefusedError(f"{quote(path)} has {len(shapes):,} tensors; expected at most {MAX_TENSORS:,}")
    if path.suffix == ".safetensors":
        refuse_scaled(path)
    pipeline_class = _recognise(path, shapes)
    refuse_other_architecture(read_claims(path), pipeline_class)
    found = Checkpoint(path, pipeline_class, shapes, load, quantised)
    used = {name for part in found.parts.values() for name in _names(part, shapes)}
    used |= {part.prefix + name for part in found.parts.values() for name in part.unused}
    return replace(found, notes=tuple(check_left_overs(path, [name for name in shapes if name not in used])))


def _load_safetensors(path: Path, names: Iterable[str]) -> Tensors:
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in names}
    # diffusers leaves these as they are, and torch computes with none of them.
    return {name: tensor.float() if tensor.dtype in FLOAT8_DTYPES else tensor for name, tensor in tensors.items()}


def _recognise(path: Path, shapes: Shapes) -> str:
    if UNET + "input_blocks.0.0.weight" in shapes:
        is_xl = UNET + "label_emb.0.0.weight" in shapes
        return "StableDiffusionXLPipeline" if is_xl else "StableDiffusionPipeline"
    if name := name_unconverted(shapes):
        raise ModelRefusedError(
            f"{quote(path)} holds the transformer of {name} in its makers' layout, which this version cannot convert: "
            "expected a diffusers folder"
        )
    if found := recognise_transformer(shapes):
        return found
    raise ModelRefusedError(
        f"{quote(path)} is in no layout that this version knows: expected a checkpoint of Stable Diffusion 1, 2, XL, 3 "
        "or FLUX.1 as their authors publish it, or the transformer alone of a newer model (docs/guides/models.md lists "
        "them). A file of one network in diffusers' layout belongs into a folder"
    )


def find_usual_configuration(checkpoint: Checkpoint) -> str:
    """Return the hub id of the model whose configuration diffusers takes for such a file.

    Raises ModelRefusedError when diffusers knows none that fits.
    """
    with refuse_errors(f"{quote(checkpoint.path)} cannot be recognised"):
        kind = convert.infer_diffusers_model_type(_on_meta(checkpoint.shapes, checkpoint.shapes))
    if KINDS.get(kind) != checkpoint.pipeline_class:
        raise ModelRefusedError(
            f"{quote(checkpoint.path)} looks like {kind!r:.80} to diffusers, whose usual configuration does not fit: "
            "name a diffusers folder of the same family with --model-config FOLDER"
        )
    return str(convert.DIFFUSERS_DEFAULT_PIPELINE_PATHS[kind]["pretrained_model_name_or_path"])


def find_checkpoint_weights(
    checkpoint: Checkpoint, folder: Path, networks: Mapping[str, Component]
) -> dict[str, Weights]:
    """Find the weights of the networks that a single file holds, by component.

    folder:    the configuration that goes with it
    networks:  those of its pipeline
    Raises ModelRefusedError when it holds one that the pipeline has not, or tensors that cannot be converted, or when
    there is one that neither of both holds.
    """
    if other := sorted(checkpoint.parts.keys() - networks.keys()):
        raise ModelRefusedError(
            f"{quote(checkpoint.path)} holds {other[0]!r}, which model_index.json does without: name a configuration "
            "of the same model with --model-config"
        )
    for name in sorted(networks.keys() - checkpoint.parts.keys()):
        if not any((folder / name).glob("*.safetensors")):
            raise ModelRefusedError(
                f"{quote(checkpoint.path)} holds no {name!r}, and {str(folder)!r:.200} has no weights of it: name a "
                "folder that has them with --model-config"
            )
    found = {}
    for name, part in checkpoint.parts.items():
        names, config = _names(part, checkpoint.shapes), read_json(folder / name / "config.json")
        with refuse_errors(f"{name!r} in {quote(checkpoint.path)} cannot be converted; is it of another model?"):
            converted = part.convert(_on_meta(names, checkpoint.shapes), config, part.prefix)
            shapes = {key: tuple(tensor.shape) for key, tensor in converted.items()}
        # diffusers passes over blocks that it does not count; text encoders' files hold what only training needs.
        read = [checkpoint.shapes[key] for key in names if not key.startswith(part.prefix + "loss.")]
        if (part.prefix in (UNET, "") or name == "vae") and _numbers(shapes.values()) != _numbers(read):
            raise ModelRefusedError(
                f"{quote(checkpoint.path)} holds more than the weights of a {checkpoint.pipeline_class}'s {name!r}, "
                "which would be left out; name a configuration of the same model with --model-config, if there is one"
            )
        found[name] = Weights(shapes, (checkpoint.path,), load=partial(_load, checkpoint, part, config))
    return found


def _load(checkpoint: Checkpoint, part: NetworkLocation, config: Mapping[str, Any]) -> Tensors:
    return part.convert(checkpoint.load(_names(part, checkpoint.shapes)), config, part.prefix)


def _numbers(shapes: Iterable[tuple[int, ...]]) -> int:
    return sum(map(math.prod, shapes))


def _on_meta(names: Iterable[str], shapes: Shapes) -> Tensors:
    return {name: torch.empty(shapes[name], device="meta") for name in names}


def _names(part: NetworkLocation, shapes: Shapes) -> list[str]:
    left = {part.prefix + name for name in part.unused} | MARKERS
    if part.prefix:
        return [name for name in shapes if name.startswith(part.prefix) and name not in left]
    # A file of the transformer alone may put nothing before its names.
    if any(name.startswith(UNET) for name in shapes):
        return []
    return [name for name in shapes if not name.startswith(_OTHER_PARTS) and name not in left]

"""Single files of one transformer in its makers' layout: recognised by a tensor's name, and converted by diffusers.

Such a file holds the network that denoises, and nothing else. Text encoders, the autoencoder and the tokenizers come
from a folder. diffusers knows no conversion for some families, whose files are recognised to be refused by name.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from diffusers.loaders import single_file_utils as diffusers_conversions

from imgaudit.models.files.claims import UNET

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class NetworkLocation:
    """The place of one network in a layout."""

    component: str
    """Its name in the pipeline."""
    prefix: str
    """Beginning of the names of its tensors."""
    convert: Callable[[Tensors, Mapping[str, Any], str], Tensors]
    """From them, the network's config.json and the prefix to the network's own names."""
    unused: frozenset[str] = frozenset()
    """Names after the prefix of tensors that makers saved and no version of the network reads."""


MARKS: Mapping[str, str] = {
    # Before FLUX.1, whose blocks these have too.
    "distilled_guidance_layer.in_proj.bias": "ChromaPipeline",
    "single_stream_modulation.lin.weight": "Flux2KleinPipeline",
    "joint_blocks.0.x_block.attn.qkv.weight": "StableDiffusion3Pipeline",
    "double_blocks.0.img_attn.qkv.weight": "FluxPipeline",
    # Before Lumina-Image 2.0, from which it was made.
    "layers.0.adaLN_modulation.0.weight": "ZImagePipeline",
    "context_refiner.0.attention.qkv.weight": "Lumina2Pipeline",
    "double_layers.0.attn.w2q.weight": "AuraFlowPipeline",
    "txt_in.text_norm.weight": "QwenImage21Pipeline",
    "transformer_blocks.0.img_mod.1.weight": "QwenImagePipeline",
    "txtfusion.projector.weight": "Krea2Pipeline",
    "double_stream_blocks.0.block.adaLN_modulation.1.bias": "HiDreamImagePipeline",
}
"""Pipeline classes by a tensor that only a file of theirs has, or that the rows before have ruled out."""

UNCONVERTED: Mapping[str, str] = {
    "blocks.0.mlp.inverted_conv.conv.weight": "Sana",
    "blocks.0.attn2.kv_proj.weight": "Hunyuan-DiT",
    "blocks.0.cross_attn.kv_linear.weight": "PixArt",
    "double_blocks.0.img_attn_qkv.weight": "HunyuanImage or HunyuanVideo",
    # As ComfyUI names its blocks, which are then called as FLUX.1's are.
    "txt_in.individual_token_refiner.blocks.0.adaLN_modulation.1.bias": "HunyuanImage or HunyuanVideo",
    "visual_transformer_blocks.0.self_attention.to_query.weight": "Kandinsky 5",
    "embed_image_indicator.weight": "Ideogram 4",
}
"""Names of models whose single files this version cannot convert, by a tensor of theirs."""

GUIDANCE = "guidance_in.in_layer.weight"
"""Tensor that FLUX.2 dev has and klein has not."""


def recognise_transformer(names: Collection[str]) -> str:
    """Return the pipeline class of a file with a transformer in its makers' layout; "" for any other file.

    >>> recognise_transformer(["model.diffusion_model.txtfusion.projector.weight"])
    'Krea2Pipeline'
    """
    found = next((one for mark, one in MARKS.items() if mark in names or UNET + mark in names), "")
    if found == "Flux2KleinPipeline" and (GUIDANCE in names or UNET + GUIDANCE in names):
        return "Flux2Pipeline"
    return found


def name_unconverted(names: Collection[str]) -> str:
    """Return the common name of the model whose transformer a file holds, where it cannot be converted; else "".

    >>> name_unconverted(["blocks.0.mlp.inverted_conv.conv.weight"])
    'Sana'
    """
    return next((one for mark, one in UNCONVERTED.items() if mark in names or UNET + mark in names), "")


def _convert(function: Any, tensors: Tensors, config: Mapping[str, Any], prefix: str) -> Tensors:
    # Some of diffusers' conversions expect names without a prefix, and one fails over it.
    plain = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    converted: Tensors = function(checkpoint=plain, config=config)
    return converted


def _keep(checkpoint: Tensors, config: Mapping[str, Any]) -> Tensors:
    return checkpoint


def _locate(function: Any, *unused: str) -> tuple[NetworkLocation, ...]:
    """Return the places of a transformer with and without the prefix that most programs put before its names."""
    convert = partial(_convert, function)
    return tuple(NetworkLocation("transformer", prefix, convert, frozenset(unused)) for prefix in (UNET, ""))


_FLUX2 = _locate(diffusers_conversions.convert_flux2_transformer_checkpoint_to_diffusers)

TRANSFORMERS: Mapping[str, tuple[NetworkLocation, ...]] = {
    "ChromaPipeline": _locate(diffusers_conversions.convert_chroma_transformer_checkpoint_to_diffusers),
    "Flux2Pipeline": _FLUX2,
    "Flux2KleinPipeline": _FLUX2,
    "ZImagePipeline": _locate(
        diffusers_conversions.convert_z_image_transformer_checkpoint_to_diffusers, "norm_final.weight"
    ),
    "Lumina2Pipeline": _locate(diffusers_conversions.convert_lumina2_to_diffusers, "norm_final.weight"),
    "AuraFlowPipeline": _locate(diffusers_conversions.convert_auraflow_transformer_checkpoint_to_diffusers),
    "QwenImagePipeline": _locate(_keep),
    "QwenImage21Pipeline": _locate(diffusers_conversions.convert_qwen_image21_transformer_checkpoint_to_diffusers),
    "Krea2Pipeline": _locate(diffusers_conversions.convert_krea2_transformer_checkpoint_to_diffusers),
    "HiDreamImagePipeline": _locate(_keep),
}
"""Places of the transformers that a file may hold, by pipeline class."""

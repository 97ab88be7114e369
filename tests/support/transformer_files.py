"""Single files of newer transformers as their makers lay them out: diffusers' names and shapes, turned back."""

import re
from collections.abc import Mapping

import torch

from tests.support.single_files import Tensors, flux

Rules = tuple[tuple[str, str], ...]

_LUMINA: Rules = (
    (r"^time_caption_embed\.caption_embedder", "cap_embedder"),
    (r"^time_caption_embed\.timestep_embedder\.linear_1", "t_embedder.mlp.0"),
    (r"^time_caption_embed\.timestep_embedder\.linear_2", "t_embedder.mlp.2"),
    (r"^norm_out\.linear_1", "final_layer.adaLN_modulation.1"), (r"^norm_out\.linear_2", "final_layer.linear"),
    (r"^(context_refiner\.\d+)\.norm1\.weight", r"\1.attention_norm1.weight"),
    (r"\.norm1\.norm\.", ".attention_norm1."), (r"\.norm1\.linear\.", ".adaLN_modulation.1."),
    (r"\.norm2\.", ".attention_norm2."), (r"\.attn\.to_q\.", ".attention.qkv."),
    (r"\.attn\.to_out\.0\.", ".attention.out."), (r"\.attn\.norm_([kq])\.", r".attention.\1_norm."),
    (r"\.feed_forward\.linear_(\d)\.", r".feed_forward.w\1."),
)  # fmt: skip
_Z_IMAGE: Rules = (
    (r"^all_(final_layer|x_embedder)\.2-1\.", r"\1."), (r"\.attention\.to_q\.", ".attention.qkv."),
    (r"\.attention\.to_out\.0\.", ".attention.out."), (r"\.attention\.norm_([kq])\.", r".attention.\1_norm."),
)  # fmt: skip
_FLUX2: Rules = (
    (r"^x_embedder", "img_in"), (r"^context_embedder", "txt_in"), (r"^proj_out", "final_layer.linear"),
    (r"^time_guidance_embed\.timestep_embedder\.linear_1", "time_in.in_layer"),
    (r"^time_guidance_embed\.timestep_embedder\.linear_2", "time_in.out_layer"),
    (r"^time_guidance_embed\.guidance_embedder\.linear_1", "guidance_in.in_layer"),
    (r"^time_guidance_embed\.guidance_embedder\.linear_2", "guidance_in.out_layer"),
    (r"^(\w+_modulation\w*)\.linear", r"\1.lin"), (r"^norm_out\.linear", "final_layer.adaLN_modulation.1"),
    (r"^single_transformer_blocks\.(\d+)\.attn\.to_qkv_mlp_proj", r"single_blocks.\1.linear1"),
    (r"^single_transformer_blocks\.(\d+)\.attn\.to_out", r"single_blocks.\1.linear2"),
    (r"^single_transformer_blocks\.(\d+)\.attn\.norm_q\.weight", r"single_blocks.\1.norm.query_norm.scale"),
    (r"^single_transformer_blocks\.(\d+)\.attn\.norm_k\.weight", r"single_blocks.\1.norm.key_norm.scale"),
    (r"^transformer_blocks\.", "double_blocks."), (r"\.attn\.to_q\.", ".img_attn.qkv."),
    (r"\.attn\.add_q_proj\.", ".txt_attn.qkv."), (r"\.attn\.to_out\.0\.", ".img_attn.proj."),
    (r"\.attn\.to_add_out\.", ".txt_attn.proj."), (r"\.ff\.linear_in\.", ".img_mlp.0."),
    (r"\.ff\.linear_out\.", ".img_mlp.2."), (r"\.ff_context\.linear_in\.", ".txt_mlp.0."),
    (r"\.ff_context\.linear_out\.", ".txt_mlp.2."),
    (r"\.attn\.norm_q\.weight", ".img_attn.norm.query_norm.scale"),
    (r"\.attn\.norm_k\.weight", ".img_attn.norm.key_norm.scale"),
    (r"\.attn\.norm_added_q\.weight", ".txt_attn.norm.query_norm.scale"),
    (r"\.attn\.norm_added_k\.weight", ".txt_attn.norm.key_norm.scale"),
)  # fmt: skip
_KREA2: Rules = (
    (r"^img_in\.", "first."), (r"^time_embed\.linear_1\.", "tmlp.0."), (r"^time_embed\.linear_2\.", "tmlp.2."),
    (r"^time_mod_proj\.", "tproj.1."), (r"^txt_in\.norm\.weight", "txtmlp.0.scale"),
    (r"^txt_in\.linear_1\.", "txtmlp.1."), (r"^txt_in\.linear_2\.", "txtmlp.3."), (r"^text_fusion\.", "txtfusion."),
    (r"^transformer_blocks\.", "blocks."), (r"^final_layer\.linear\.", "last.linear."),
    (r"^final_layer\.norm\.weight", "last.norm.scale"), (r"^final_layer\.scale_shift_table", "last.modulation.lin"),
    (r"\.scale_shift_table$", ".mod.lin"), (r"\.attn\.to_([qkv])\.", r".attn.w\1."),
    (r"\.attn\.to_out\.0\.", ".attn.wo."), (r"\.attn\.to_gate\.", ".attn.gate."),
    (r"\.attn\.norm_([qk])\.weight", r".attn.qknorm.\1norm.scale"), (r"\.ff\.", ".mlp."),
    (r"\.norm1\.weight", ".prenorm.scale"), (r"\.norm2\.weight", ".postnorm.scale"),
)  # fmt: skip
_AURA: Rules = (
    (r"^time_step_proj\.linear_1", "t_embedder.mlp.0"), (r"^time_step_proj\.linear_2", "t_embedder.mlp.2"),
    (r"^context_embedder", "cond_seq_linear"), (r"^proj_out", "final_linear"), (r"^norm_out\.linear", "modF.1"),
    (r"^pos_embed\.pos_embed", "positional_encoding"), (r"^pos_embed\.proj", "init_x_linear"),
    (r"^joint_transformer_blocks", "double_layers"), (r"\.norm1_context\.linear", ".modC.1"),
    (r"^single_transformer_blocks\.(\d+)\.norm1\.linear", r"single_layers.\1.modCX.1"),
    (r"\.norm1\.linear", ".modX.1"), (r"^single_transformer_blocks\.(\d+)\.ff\.", r"single_layers.\1.mlp."),
    (r"^single_transformer_blocks\.(\d+)\.attn\.to_([qkv])\.", r"single_layers.\1.attn.w1\2."),
    (r"^single_transformer_blocks\.(\d+)\.attn\.to_out\.0\.", r"single_layers.\1.attn.w1o."),
    (r"\.ff\.", ".mlpX."), (r"\.ff_context\.", ".mlpC."), (r"\.linear_(\d)\.", r".c_fc\1."),
    (r"\.out_projection\.", ".c_proj."), (r"\.attn\.to_([qkv])\.", r".attn.w2\1."),
    (r"\.attn\.to_out\.0\.", ".attn.w2o."), (r"\.attn\.add_([qkv])_proj\.", r".attn.w1\1."),
    (r"\.attn\.to_add_out\.", ".attn.w1o."),
)  # fmt: skip
_CHROMA: Rules = (
    (r"\.linear_1\.", ".in_layer."), (r"\.linear_2\.", ".out_layer."), (r"\.norms\.(\d+)\.weight", r".norms.\1.scale"),
)  # fmt: skip
_QWEN21: Rules = ((r"\.img_mlp\.gate_layer\.", ".img_mlp.gate_up."),)

RULES: Mapping[str, Rules] = {
    "Lumina2Pipeline": _LUMINA, "ZImagePipeline": _Z_IMAGE, "Flux2Pipeline": _FLUX2, "Flux2KleinPipeline": _FLUX2,
    "Krea2Pipeline": _KREA2, "AuraFlowPipeline": _AURA, "QwenImage21Pipeline": _QWEN21, "QwenImagePipeline": (),
    "HiDreamImagePipeline": (),
}  # fmt: skip
"""Replacements in names, one after the other."""

SWAPPED = ("final_layer.adaLN_modulation.1.weight", "modF.1.weight")
"""Tensors whose makers have the shift before the scale, in the families of `_SWAPPING`."""

_SWAPPING = ("Flux2Pipeline", "Flux2KleinPipeline", "AuraFlowPipeline")


def turn_back(pipeline_class: str, tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """A transformer's tensors in the layout of its makers."""
    if pipeline_class == "ChromaPipeline":
        own = {name: one for name, one in tensors.items() if name.startswith("distilled_guidance_layer.")}
        plain = flux({name: one for name, one in tensors.items() if name not in own})
        return plain | {_rename(name, _CHROMA): one for name, one in own.items()}
    made = {}
    for name, tensor in tensors.items():
        if any(part in name for part in _joined(pipeline_class)):
            continue
        new = _rename(name, RULES[pipeline_class])
        if ".qkv." in new:
            tensor = torch.cat([tensor, *(tensors[re.sub(r"(to|add)_q", rf"\1_{one}", name)] for one in "kv")])
        elif ".gate_up." in new:
            tensor = torch.cat([tensor, tensors[name.replace("gate_layer", "proj")]])
        elif new in SWAPPED and pipeline_class in _SWAPPING:
            tensor = torch.cat(tensor.chunk(2)[::-1])
        made[new] = tensor.flatten() if new.endswith(".mod.lin") else tensor
    return made


def _rename(name: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _joined(pipeline_class: str) -> tuple[str, ...]:
    """What stands in the names of tensors that are a part of another one."""
    match pipeline_class:
        case "Lumina2Pipeline" | "ZImagePipeline" | "Flux2Pipeline" | "Flux2KleinPipeline":
            return (".to_k.", ".to_v.", ".add_k_proj.", ".add_v_proj.")
        case "QwenImage21Pipeline":
            return (".img_mlp.proj.",)
    return ()

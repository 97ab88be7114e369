"""Single files as their authors lay them out: the names and shapes of diffusers' networks, turned back."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from imgaudit.models import load_model

Tensors = dict[str, torch.Tensor]

UNET = "model.diffusion_model."

_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection",
}  # fmt: skip
_ENDS = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip


def unet(tensors: Mapping[str, torch.Tensor], layers: int) -> Tensors:
    """A UNet's tensors in the layout of CompVis, which counts blocks where diffusers has levels."""
    return {UNET + _unet_name(name, layers, tensors): tensor for name, tensor in tensors.items()}


def _unet_name(name: str, layers: int, tensors: Mapping[str, torch.Tensor]) -> str:
    module, _, kind = name.rpartition(".")
    if module in _ENDS:
        return f"{_ENDS[module]}.{kind}"
    if found := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d+)\.(.*)", name):
        number = 1 if found[1] == "attentions" else 2 * int(found[2])
        return f"middle_block.{number}.{_resnet(found[3]) if found[1] == 'resnets' else found[3]}"
    found = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.*)", name)
    assert found, name
    way, level, part, rest = found[1], int(found[2]), found[3], found[5]
    block = level * (layers + 1) + int(found[4])
    if way == "down":
        if part == "downsamplers":
            return f"input_blocks.{1 + level * (layers + 1) + layers}.0.op.{kind}"
        return f"input_blocks.{1 + block}.{_number_and_rest(part, rest)}"
    if part == "upsamplers":
        has_attention = any(one.startswith(f"up_blocks.{level}.attentions") for one in tensors)
        return f"output_blocks.{level * (layers + 1) + layers}.{1 + has_attention}.conv.{kind}"
    return f"output_blocks.{block}.{_number_and_rest(part, rest)}"


def _number_and_rest(part: str, rest: str) -> str:
    return f"0.{_resnet(rest)}" if part == "resnets" else f"1.{rest}"


def _resnet(rest: str) -> str:
    layer, _, kind = rest.rpartition(".")
    return f"{_RESNET[layer]}.{kind}"


def vae(tensors: Mapping[str, torch.Tensor], levels: int, prefix: str = "first_stage_model.") -> Tensors:
    """An autoencoder's tensors in the layout of CompVis: levels of the decoder backwards, attention by convolution."""
    made = {}
    for name, tensor in tensors.items():
        new = re.sub(r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}", name)
        new = re.sub(r"down_blocks\.(\d+)\.resnets", r"down.\1.block", new)
        new = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", new)
        new = re.sub(r"up_blocks\.(\d+)\.resnets", lambda found: f"up.{levels - 1 - int(found[1])}.block", new)
        new = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda found: f"up.{levels - 1 - int(found[1])}.upsample", new)
        new = new.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
        if "mid_block.attentions.0" in new:
            new = new.replace("mid_block.attentions.0", "mid.attn_1").replace("group_norm", "norm")
            new = new.replace("to_out.0", "proj_out").replace("to_", "")
            tensor = tensor[:, :, None, None] if tensor.ndim == 2 else tensor
        made[prefix + new] = tensor
    return made


def clip(tensors: Mapping[str, torch.Tensor], prefix: str) -> Tensors:
    """A text encoder's tensors as older transformers named them."""
    return {
        prefix + ("" if name.startswith("text_") else "text_model.") + name: tensor for name, tensor in tensors.items()
    }


def open_clip(tensors: Mapping[str, torch.Tensor], prefix: str) -> Tensors:
    """A text encoder's tensors in the layout of OpenCLIP: queries, keys and values as one."""
    plain = {name.removeprefix("text_model."): tensor for name, tensor in tensors.items()}
    ends = {
        "embeddings.position_embedding.weight": "positional_embedding",
        "embeddings.token_embedding.weight": "token_embedding.weight", "final_layer_norm.weight": "ln_final.weight",
        "final_layer_norm.bias": "ln_final.bias",
    }  # fmt: skip
    made = {new: plain[old] for old, new in ends.items()}
    side = len(plain["final_layer_norm.weight"])
    made["text_projection"] = (
        plain["text_projection.weight"].T if "text_projection.weight" in plain else torch.eye(side)
    )
    for name, tensor in plain.items():
        if not name.startswith("encoder.layers."):
            continue
        new = name.replace("encoder.layers.", "transformer.resblocks.").replace("layer_norm", "ln_")
        new = new.replace("self_attn", "attn").replace("fc1", "c_fc").replace("fc2", "c_proj")
        if found := re.fullmatch(r"(.*)\.q_proj\.(weight|bias)", new):
            parts = [plain[name.replace("q_proj", f"{one}_proj")] for one in "qkv"]
            made[f"{found[1]}.in_proj_{found[2]}"] = torch.cat(parts)
        elif not re.search(r"\.[kv]_proj\.", new):
            made[new] = tensor
    return {prefix + name: tensor for name, tensor in made.items()}


_SD3 = {
    "pos_embed.proj": "x_embedder.proj", "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2", "context_embedder": "context_embedder",
    "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0", "proj_out": "final_layer.linear",
    "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2", "norm_out.linear": "final_layer.adaLN_modulation.1",
}  # fmt: skip
_SD3_BLOCK = {
    "attn.norm_q": "x_block.attn.ln_q", "attn.norm_k": "x_block.attn.ln_k", "attn2.norm_q": "x_block.attn2.ln_q",
    "attn2.norm_k": "x_block.attn2.ln_k", "attn.norm_added_q": "context_block.attn.ln_q",
    "attn.norm_added_k": "context_block.attn.ln_k", "attn.to_out.0": "x_block.attn.proj",
    "attn2.to_out.0": "x_block.attn2.proj", "attn.to_add_out": "context_block.attn.proj",
    "norm1.linear": "x_block.adaLN_modulation.1", "norm1_context.linear": "context_block.adaLN_modulation.1",
    "ff.net.0.proj": "x_block.mlp.fc1", "ff.net.2": "x_block.mlp.fc2", "ff_context.net.0.proj": "context_block.mlp.fc1",
    "ff_context.net.2": "context_block.mlp.fc2",
}  # fmt: skip
_FLUX = {
    "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer", "context_embedder": "txt_in",
    "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer", "x_embedder": "img_in",
    "time_text_embed.text_embedder.linear_1": "vector_in.in_layer", "proj_out": "final_layer.linear",
    "time_text_embed.text_embedder.linear_2": "vector_in.out_layer",
    "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
    "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
    "norm_out.linear": "final_layer.adaLN_modulation.1",
}  # fmt: skip
_FLUX_BLOCK = {
    "norm1.linear": "img_mod.lin", "norm1_context.linear": "txt_mod.lin", "attn.to_out.0": "img_attn.proj",
    "attn.to_add_out": "txt_attn.proj", "ff.net.0.proj": "img_mlp.0", "ff.net.2": "img_mlp.2",
    "ff_context.net.0.proj": "txt_mlp.0", "ff_context.net.2": "txt_mlp.2",
}  # fmt: skip
_FLUX_NORMS = {
    "attn.norm_q.weight": "img_attn.norm.query_norm.scale", "attn.norm_k.weight": "img_attn.norm.key_norm.scale",
    "attn.norm_added_q.weight": "txt_attn.norm.query_norm.scale",
    "attn.norm_added_k.weight": "txt_attn.norm.key_norm.scale",
}  # fmt: skip


def sd3(tensors: Mapping[str, torch.Tensor], prefix: str = UNET) -> Tensors:
    """A Stable Diffusion 3 transformer's tensors in the layout of its authors."""
    last = max(int(name.split(".")[1]) for name in tensors if name.startswith("transformer_blocks."))
    made = {}
    for name, tensor in tensors.items():
        module, _, kind = name.rpartition(".")
        block = re.fullmatch(r"transformer_blocks\.(\d+)\.(.*)", module)
        if name == "pos_embed.pos_embed":
            made["pos_embed"] = tensor
        elif block is None:
            made[f"{_SD3[module]}.{kind}"] = _swapped(tensor) if module == "norm_out.linear" else tensor
        elif block[2] in _SD3_BLOCK:
            swaps = block[2] == "norm1_context.linear" and int(block[1]) == last
            made[f"joint_blocks.{block[1]}.{_SD3_BLOCK[block[2]]}.{kind}"] = _swapped(tensor) if swaps else tensor
        elif block[2].endswith((".to_q", ".add_q_proj")):
            side = "context_block.attn" if "add_" in block[2] else f"x_block.{block[2].split('.')[0]}"
            made[f"joint_blocks.{block[1]}.{side}.qkv.{kind}"] = _joined(tensors, name)
    return {prefix + name: tensor for name, tensor in made.items()}


def flux(tensors: Mapping[str, torch.Tensor], prefix: str = "") -> Tensors:
    """A FLUX.1 transformer's tensors in the layout of its authors."""
    made = {}
    for name, tensor in tensors.items():
        module, _, kind = name.rpartition(".")
        block = re.fullmatch(r"(single_)?transformer_blocks\.(\d+)\.(.*)", module)
        if block is None:
            made[f"{_FLUX[module]}.{kind}"] = _swapped(tensor) if module == "norm_out.linear" else tensor
            continue
        start, rest = f"{'single' if block[1] else 'double'}_blocks.{block[2]}", f"{block[3]}.{kind}"
        if block[1]:
            if rest in ("attn.norm_q.weight", "attn.norm_k.weight"):
                made[f"{start}.{_FLUX_NORMS[rest].removeprefix('img_attn.')}"] = tensor
            elif block[3] == "attn.to_q":
                mlp = tensors[name.replace("attn.to_q", "proj_mlp")]
                made[f"{start}.linear1.{kind}"] = torch.cat([_joined(tensors, name), mlp])
            elif block[3] in ("norm.linear", "proj_out"):
                made[f"{start}.{'modulation.lin' if block[3] == 'norm.linear' else 'linear2'}.{kind}"] = tensor
        elif rest in _FLUX_NORMS:
            made[f"{start}.{_FLUX_NORMS[rest]}"] = tensor
        elif block[3] in _FLUX_BLOCK:
            made[f"{start}.{_FLUX_BLOCK[block[3]]}.{kind}"] = tensor
        elif block[3] in ("attn.to_q", "attn.add_q_proj"):
            made[f"{start}.{'txt' if 'add_' in block[3] else 'img'}_attn.qkv.{kind}"] = _joined(tensors, name)
    return {prefix + name: tensor for name, tensor in made.items()}


def _swapped(tensor: torch.Tensor) -> torch.Tensor:
    return torch.cat(tensor.chunk(2)[::-1])


def _joined(tensors: Mapping[str, torch.Tensor], query: str) -> torch.Tensor:
    names = [re.sub(r"(to|add)_q", rf"\1_{one}", query) for one in "qkv"]
    return torch.cat([tensors[name] for name in names])


def single_file(pipeline: Any, **left_out: bool) -> Tensors:
    """Everything of a pipeline as its authors would publish it; left_out names components that they would not."""
    parts = {
        name: part.state_dict()
        for name, part in pipeline.components.items()
        if isinstance(part, torch.nn.Module) and name not in left_out
    }
    family, made = type(pipeline).__name__, Tensors()
    if "unet" in parts:
        made |= unet(parts["unet"], pipeline.unet.config.layers_per_block)
    if "transformer" in parts:
        made |= (flux if family == "FluxPipeline" else sd3)(parts["transformer"], UNET)
    if "vae" in parts:
        made |= vae(parts["vae"], len(pipeline.vae.config.block_out_channels))
    match family:
        case "StableDiffusionPipeline":
            made |= clip(parts.get("text_encoder", {}), "cond_stage_model.transformer.")
        case "StableDiffusionXLPipeline":
            made |= clip(parts.get("text_encoder", {}), "conditioner.embedders.0.transformer.")
            if "text_encoder_2" in parts:
                made |= open_clip(parts["text_encoder_2"], "conditioner.embedders.1.model.")
        case _:
            made |= clip(parts.get("text_encoder", {}), "text_encoders.clip_l.transformer.")
            if family == "StableDiffusion3Pipeline":
                made |= clip(parts.get("text_encoder_2", {}), "text_encoders.clip_g.transformer.")
            t5 = parts.get("text_encoder_2" if family == "FluxPipeline" else "text_encoder_3", {})
            made |= {f"text_encoders.t5xxl.transformer.{name}": tensor for name, tensor in t5.items()}
    return made


def save(tensors: Mapping[str, torch.Tensor], path: Path) -> Path:
    """Write a single file; its tensors share no memory."""
    save_file({name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}, path)
    return path


def change_file(source: Path, to: Path, change: Callable[[Tensors], None]) -> Path:
    """A single file saved anew, its tensors changed."""
    tensors = load_file(source)
    change(tensors)
    return save(tensors, to)


def pipeline_of(folder: Path) -> Any:
    """The pipeline that is loaded from a folder."""
    return load_model(str(folder), "cpu").denoiser.pipeline  # type: ignore[attr-defined]

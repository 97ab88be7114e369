"""Add-ons of LyCORIS, LoHa and LoKr: products of small matrices that are no plain LoRA, fused into weights exactly.

With s the layer's alpha over its rank, and ∘ the product of entries, a layer's weights change by

    LoHa:  s (w1_a w1_b) ∘ (w2_a w2_b)                         (Hyeon-Woo et al. 2022, arXiv 2108.06098)
    LoKr:  s w1 ⊗ w2, either of which may be a product itself   (Yeh et al. 2024, arXiv 2309.14859)

In LoKr s is 1 where neither is a product: there is no rank then.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.files.inspection import AGAIN, quote
from imgaudit.models.files.weights import Shapes

LOHA = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
"""Matrices of a layer of LoHa."""

LOKR = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b")
"""Matrices of a layer of LoKr: w1 or its two factors, and w2 or its."""

TUCKER = ("hada_t1", "hada_t2", "lokr_t2")
"""Cores of a third factor, which convolutions may have."""

PREFIXES: Mapping[str, tuple[str, ...]] = {
    "unet": ("lora_unet_", "lycoris_unet_"),
    "transformer": ("lora_transformer_", "lycoris_", "lora_unet_"),
    "text_encoder": ("lora_te_", "lora_te1_"),
    "text_encoder_2": ("lora_te2_",),
}
"""Beginnings of the names of layers, by the network they are for; after them a module's name, with _ for every dot.
diffusers' own names, the network's and the module's with their dots, are read as well."""


@dataclass(frozen=True)
class _Change:
    """What a file says of one layer."""

    layer: str
    """Its name in the file."""
    tensors: Mapping[str, torch.Tensor]
    """Its matrices, by the last part of their names."""


def is_lycoris(shapes: Shapes) -> bool:
    """True for a file with tensors of LoHa or LoKr.

    >>> is_lycoris({"lora_unet_conv_in.hada_w1_a": (4, 4)}), is_lycoris({"lora_unet_conv_in.lora_up.weight": (4, 4)})
    (True, False)
    """
    return any(_ending(name) in (*LOHA, *LOKR, *TUCKER) for name in shapes)


def refuse_lycoris(path: Path, shapes: Shapes) -> None:
    """Refuse what would be left out of a LoHa or LoKr: ModelRefusedError that names the tensor and its format."""
    for name in shapes:
        if _ending(name) == "dora_scale":
            raise ModelRefusedError(
                f"LoRA {quote(path)} is a DoRA ({name!r:.99}), which sets the length of weights as well; this version "
                "does not apply that: merge it into the model first"
            )
        if _ending(name) in TUCKER:
            raise ModelRefusedError(
                f"LoRA {quote(path)} is a LyCORIS with a core ({name!r:.99}, Tucker decomposition), which this version "
                "does not apply: merge it into the model first"
            )
        if _ending(name) not in (*LOHA, *LOKR, "alpha"):
            raise ModelRefusedError(
                f"LoRA {quote(path)} holds {name!r:.99}, which is no part of a LoHa or LoKr and would be left out: "
                "merge it into the model first"
            )


def fuse_lycoris(networks: Mapping[str, torch.nn.Module], path: Path, weight: float) -> None:
    """Add a LoHa or LoKr, which was inspected, to the weights of networks by their pipeline's names.

    Changes are computed in float32, and added to weights in float32 before these are rounded to their own type again.

    weight:  factor of the change
    Raises ModelRefusedError when a layer is not there, or a change is not finite, of another size, or none.
    """
    places = dict(_list_places(networks))
    changes = list(_read_changes(load_file(path)))
    if lost := [change.layer for change in changes if change.layer not in places]:
        fits = "fits no layer of this model" if len(lost) == len(changes) else "fits this model only in part"
        raise ModelRefusedError(
            f"LoRA {quote(path)} (LyCORIS) {fits}: {len(lost)} of its {len(changes)} layers are not there (such as "
            f"{lost[0]!r:.99}). It was trained on another model, or names layers as another program than diffusers does"
        )
    changed = False
    for change in changes:
        held = places[change.layer]
        added = weight * _compute(path, change)
        if added.numel() != held.numel() or added.shape[0] != held.shape[0]:
            raise ModelRefusedError(
                f"LoRA {quote(path)} changes {change.layer!r:.99} by {tuple(added.shape)} numbers, but the layer has "
                f"{tuple(held.shape)}: it was trained on another model"
            )
        if not bool(torch.isfinite(added).all()):
            raise ModelRefusedError(f"LoRA {quote(path)} changes {change.layer!r:.99} by no finite number; {AGAIN}")
        with torch.no_grad():
            before = held.clone()
            held.copy_((held.float() + added.reshape(held.shape).to(held.device)).to(held.dtype))
            changed = changed or not torch.equal(before, held)
    if not changed:
        raise ModelRefusedError(f"LoRA {quote(path)} changes no weight, so that the model alone would be audited")


def _ending(name: str) -> str:
    return name.rpartition(".")[2]


def _list_places(networks: Mapping[str, torch.nn.Module]) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """Yield the weights of every layer by the names that files may give it."""
    for name, network in networks.items():
        for module_name, module in network.named_modules():
            held = getattr(module, "weight", None)
            if isinstance(held, torch.nn.Parameter) and held.dim() > 1:
                # transformers names the layers of CLIP with or without this part, from version to version.
                names = {module_name, f"text_model.{module_name}", module_name.removeprefix("text_model.")}
                for one in names if name.startswith("text_encoder") else {module_name}:
                    yield f"{name}.{one}", held
                    for prefix in PREFIXES.get(name, ()):
                        yield prefix + one.replace(".", "_"), held


def _read_changes(tensors: Mapping[str, torch.Tensor]) -> Iterator[_Change]:
    layers: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        layer, _, ending = name.rpartition(".")
        layers.setdefault(layer, {})[ending] = tensor.float()
    for layer, held in sorted(layers.items()):
        yield _Change(layer, held)


def _compute(path: Path, change: _Change) -> torch.Tensor:
    """Return the change of a layer's weights, float32. Raises ModelRefusedError for matrices that do not fit."""
    held = change.tensors
    kinds: Sequence[str] = LOHA if any(name in held for name in LOHA) else LOKR
    if other := sorted(set(held) - {*kinds, "alpha"}):
        raise _incomplete(path, change, f"has {other[0]!r} besides {sorted(set(held) - set(other))[0]!r}")
    try:
        if kinds == LOHA:
            product = (held["hada_w1_a"] @ held["hada_w1_b"]) * (held["hada_w2_a"] @ held["hada_w2_b"])
            return _scale(path, change, len(held["hada_w1_b"])) * product
        first, first_rank = _take_factor(held, "lokr_w1")
        second, second_rank = _take_factor(held, "lokr_w2")
        ends = first.reshape(*first.shape, *[1] * (second.dim() - first.dim()))
        rank = second_rank or first_rank
        return (_scale(path, change, rank) if rank else 1.0) * torch.kron(ends, second.contiguous())
    except KeyError as error:
        raise _incomplete(path, change, f"lacks {error.args[0]!r}") from error
    except RuntimeError as error:
        raise _incomplete(path, change, "has matrices whose sizes do not fit together") from error


def _take_factor(held: Mapping[str, torch.Tensor], name: str) -> tuple[torch.Tensor, int]:
    """Return one factor of a LoKr, and its rank where it is a product; 0 where it is not."""
    if name in held:
        return held[name], 0
    left, right = held[f"{name}_a"], held[f"{name}_b"]
    # Convolutions keep the sides of their kernel in the right one.
    return (left @ right.flatten(1)).reshape(len(left), *right.shape[1:]), len(right)


def _scale(path: Path, change: _Change, rank: int) -> float:
    alpha = change.tensors.get("alpha")
    scale = 1.0 if alpha is None else float(alpha.reshape(-1)[0]) / rank
    if not math.isfinite(scale):
        raise _incomplete(path, change, f"has an alpha of {scale * rank!r}")
    return scale


def _incomplete(path: Path, change: _Change, what: str) -> ModelRefusedError:
    return ModelRefusedError(f"LoRA {quote(path)}: its layer {change.layer!r:.99} {what}; {AGAIN}")

"""What diffusers makes of a LoRA's tensors: which of the file each comes from, and what it was multiplied by.

diffusers renames, splits and scales the tensors of other programs' LoRAs. What it has no name for it leaves out, and
of some layers it forgets the alpha; it only logs that, if anything. Names and shapes decide what becomes of a tensor.
So its conversion is run on marks, tensors of the same names and shapes that hold one number each: what comes out tells
where it came from.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.files.inspection import AGAIN, quote

Tensors = Mapping[str, torch.Tensor]

ALPHA = ".alpha"
"""Ending of the names of numbers by which layers are scaled, over their rank."""

DOWN = (".lora_down.weight", ".lora_A.weight", ".lora.down.weight")
UP = (".lora_up.weight", ".lora_B.weight", ".lora.up.weight")
"""Endings after a layer's name in the names of its two matrices, beside which its alpha may stand."""

PAIRS = ((".lora_A.weight", ".lora_B.weight"), (".lora_down.weight", ".lora_up.weight"), (".down.weight", ".up.weight"))
"""Endings of the two matrices of a layer in the names that diffusers gives them."""


@dataclass(frozen=True)
class Origin:
    """Where a converted tensor comes from."""

    name: str
    """Name of the file's tensor that it is, or is a part of."""
    factor: float
    """What its numbers were multiplied by."""


@dataclass(frozen=True)
class Conversion:
    """A LoRA under the names that diffusers gives its tensors."""

    path: Path
    """Its file."""
    held: Tensors
    """The tensors of the file."""
    tensors: Tensors
    """What diffusers makes of them."""
    origins: Mapping[str, Origin]
    """Where these come from, by their names."""

    def list_left_out(self) -> list[str]:
        """Return the names of the file's tensors that are left out, besides those of layers that change nothing."""
        kept = {origin.name for origin in self.origins.values()}
        left = [name for name in self.held if name not in kept and not name.endswith(ALPHA)]
        return [name for name in left if not _changes_nothing(self.held, name)]

    def find_scales(self, dtype: torch.dtype, plain: bool) -> dict[tuple[bytes, bytes], float]:
        """Return the factor that is still missing from each layer's change, by the digests of its two matrices.

        It is alpha over the rank where the file has an alpha for the layer.

        dtype:  the type in which matrices are compared
        plain:  whether layers without an alpha are to be added as they are, and not to be left out of the result
        Raises ModelRefusedError for layers that are equal but for their alphas.
        """
        scales: dict[tuple[bytes, bytes], float] = {}
        for first, second in ((name, _partner(name)) for name in self.tensors):
            if second not in self.tensors:
                continue
            source = self.origins[first].name
            layer = next((source.removesuffix(end) for end in DOWN if source.endswith(end)), source)
            alpha = self.held.get(layer + ALPHA)
            if alpha is None and not plain:
                continue
            wanted = 1.0 if alpha is None else alpha.item() / len(self.held[source])
            scale = wanted / (self.origins[first].factor * self.origins[second].factor)
            # Names differ from the modules' for some models, so that layers are known by their matrices.
            pair = digest(self.tensors[first], dtype), digest(self.tensors[second], dtype)
            if not math.isclose(scales.setdefault(pair, scale), scale, rel_tol=1e-6):
                raise ModelRefusedError(
                    f"LoRA {quote(self.path)} has equal layers with different alphas ({layer!r:.99})"
                )
        return scales


def convert_lora(path: Path, held: Tensors, convert: Callable[[dict[str, torch.Tensor]], Tensors]) -> Conversion:
    """Convert a LoRA, and find out where the tensors that come out come from.

    held:     the tensors of its file
    convert:  diffusers' conversion; it may change what it is given
    Raises ModelRefusedError for an alpha that is no finite number above 0 or belongs to no layer, and for a tensor that
    comes out and is made of several of the file's, or of none.
    """
    _refuse_alphas(path, held)
    names = [name for name in held if not name.endswith(ALPHA)]
    numbers = {name: number for number, name in enumerate(names, start=1)}
    factors, products = (
        {name: _read_mark(mark) for name, mark in convert(_mark(held, filled)).items()}
        for filled in (dict.fromkeys(names, 1), numbers)
    )
    origins = {}
    for name, factor in factors.items():
        if name.endswith(ALPHA):
            origins[name] = Origin(name, 1.0)
            continue
        number = products[name] / factor if factor else math.nan
        if not (math.isfinite(number) and abs(number - round(number)) < 0.1):
            raise ModelRefusedError(
                f"LoRA {quote(path)}: diffusers makes {name!r:.99} of several of its tensors or of none, so that what "
                "is loaded cannot be compared with the file: merge it into the model first"
            )
        origins[name] = Origin(names[round(number) - 1], factor)
    return Conversion(path, held, convert(dict(held)), origins)


def _refuse_alphas(path: Path, held: Tensors) -> None:
    for name, tensor in held.items():
        if not name.endswith(ALPHA):
            continue
        if tensor.numel() != 1 or not (math.isfinite(tensor.item()) and tensor.item() > 0):
            # A negative one would keep diffusers' conversion busy for ever.
            told = f"{tensor.item()!r:.40}" if tensor.numel() == 1 else f"{tensor.numel():,} numbers"
            raise ModelRefusedError(f"LoRA {quote(path)}: {name!r:.99} is {told}; expected one finite number above 0")
        if not any(name.removesuffix(ALPHA) + end in held for end in DOWN):
            raise ModelRefusedError(
                f"LoRA {quote(path)} has {name!r:.99} without the layer that it scales, so it would be left out: "
                f"{AGAIN}, or merge it into the model first"
            )


def _mark(held: Tensors, numbers: Mapping[str, int]) -> dict[str, torch.Tensor]:
    # Alphas are multiplied in as they are.
    return {
        name: torch.full(tensor.shape, float(numbers[name])) if name in numbers else tensor.clone()
        for name, tensor in held.items()
    }


def _read_mark(mark: torch.Tensor) -> float:
    """Return the number that fills a tensor; NaN where it is not one, or the tensor is empty."""
    if not mark.numel():
        return math.nan
    least, most = mark.min().item(), mark.max().item()
    return float(most) if math.isclose(least, most, rel_tol=1e-6) else math.nan


def _changes_nothing(held: Tensors, name: str) -> bool:
    layer = next((name.removesuffix(end) for end in (*DOWN, *UP) if name.endswith(end)), name)
    matrices = [held[layer + end] for end in (*DOWN, *UP) if layer + end in held] or [held[name]]
    return any(not bool(matrix.any()) for matrix in matrices)


def _partner(name: str) -> str:
    """Return the name of the second matrix of a layer by that of the first; "" for any other name."""
    return next((name.removesuffix(down) + up for down, up in PAIRS if name.endswith(down)), "")


def digest(tensor: torch.Tensor, dtype: torch.dtype) -> bytes:
    """Return the SHA-256 of a tensor's numbers in a type."""
    raw = tensor.detach().to(dtype).contiguous().flatten().view(torch.uint8)
    return hashlib.sha256(raw.numpy().data).digest()

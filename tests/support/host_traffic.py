"""Copies between a device and main memory, and waits for numbers, counted on a device that computes nothing.

The device is torch's "meta": tensors there have no data, so what asks for their numbers stands out. On a GPU every one
of these calls makes the processor wait until the GPU has done all that it was asked for.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.models.families.latent import LatentDenoiser

META = torch.device("meta")


class HostTraffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts, within a `with` block, what passes between tensors on "meta" and tensors on the CPU."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.to_device = 0
        """Copies to the device, of indices on the CPU as well."""
        self.to_host = 0
        """Copies back."""
        self.numbers = 0
        """Single numbers that were asked for, as `.item()`, `float()` or `bool()` do."""

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run the operator, or give zeros in place of numbers that are not there."""
        keywords, name = dict(kwargs or {}), func._schema.name  # type: ignore[attr-defined]
        if name == "aten::_local_scalar_dense" and args[0].is_meta:
            self.numbers += 1
            return 1.0 if args[0].is_floating_point() else 1
        if name == "aten::_to_copy":
            there = torch.device(keywords.get("device") or args[0].device)
            self.to_device += there.type == "meta" and not args[0].is_meta
            if there.type != "meta" and args[0].is_meta:
                self.to_host += 1
                return torch.zeros(args[0].shape, dtype=keywords.get("dtype") or args[0].dtype)
            return func(*args, **keywords)
        tensors = [one for one in tree_leaves((args, keywords)) if isinstance(one, torch.Tensor) and one.dim()]
        outside = [one for one in tensors if not one.is_meta]
        if outside and len(outside) < len(tensors):
            self.to_device += len(outside)
            args, keywords = tree_map(_move, (args, keywords))
        return func(*args, **keywords)


def _move(value: Any) -> Any:
    return value.to(META) if isinstance(value, torch.Tensor) and value.dim() else value


def move_to_meta(denoiser: LatentDenoiser) -> Denoiser:
    """Move a model to "meta"; its conditions come from its text encoders before they lose their weights."""
    start, null = denoiser.start_condition(), denoiser.null_condition()
    denoiser.start_condition = lambda: start.map(_move)  # type: ignore[method-assign]
    denoiser.null_condition = lambda: null.map(_move)  # type: ignore[method-assign]
    denoiser.pipeline.to("meta")
    denoiser.device = META
    return denoiser  # type: ignore[return-value]

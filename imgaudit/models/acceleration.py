"""What makes the same network faster and changes its numbers by rounding only: memory layout, and compiled blocks."""

import logging
from collections import Counter
from typing import Any

import torch

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.offload import Offload


def use_channels_last(pipeline: Any) -> None:
    """Lay out the weights of two-dimensional convolutions with channels last, as tensor cores read them.

    Activations follow the weights they meet, so that nothing else has to be told. Transformers have few or none; the
    autoencoder has.
    """
    for network in pipeline.components.values():
        if isinstance(network, torch.nn.Module):
            for module in network.modules():
                if isinstance(module, torch.nn.Conv2d):
                    module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)


def refuse_compile(device: torch.device, offload: Offload) -> None:
    """Refuse to compile where it cannot work: ModelRefusedError."""
    if device.type == "mps":
        raise ModelRefusedError("--compile needs a CPU or a CUDA device, but the device is 'mps': leave it out")
    if offload == "sequential":
        raise ModelRefusedError(
            "--compile and --offload sequential exclude each other: what moves weights between two layers would be "
            "compiled with them; use --offload model"
        )


def compile_blocks(network: torch.nn.Module) -> int:
    """Let torch compile the blocks that a network repeats, each kind once, when they are first used.

    Returns  how many blocks there are
    Raises ModelRefusedError for a network that names none.
    """
    # Some classes name what they repeat, and the others at least what must not be split between devices.
    names = getattr(network, "_repeated_blocks", None) or getattr(network, "_no_split_modules", None) or ()
    blocks = [module for module in network.modules() if type(module).__name__ in names]
    counts = Counter(type(block) for block in blocks)
    repeated = [block for block in blocks if counts[type(block)] > 1] or blocks
    if not repeated:
        raise ModelRefusedError(f"--compile: {type(network).__name__} names no blocks that it repeats: leave it out")
    # It looks for CUDA's compiler on machines without CUDA, and warns that there is none.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    for block in repeated:
        # Batches have many sizes, and each would be compiled anew otherwise.
        block.compile(dynamic=True)
    return len(repeated)

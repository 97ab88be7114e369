"""Where a model computes: the device, weights that wait in main memory, memory layout and compiled blocks.

None of it changes what is computed; layout and compiled blocks change numbers by rounding.
"""

import logging
from collections import Counter
from typing import Any, Literal

import torch

from imgaudit.exceptions import ModelRefusedError

Offload = Literal["none", "model", "sequential"]
"""Nothing waits; whole networks do, while another is used; every layer does, until it is used."""


def choose_device(device: str) -> torch.device:
    """Return a torch device: auto is CUDA when there is one, else MPS, else the CPU.

    Raises ModelRefusedError for a device that is not there.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, colon, number = device.partition(":")
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}.get(kind, 0)
    if not there:
        raise ModelRefusedError(
            f"device {device!r} was asked for, but torch sees no {kind.upper()} device; use --device cpu"
        )
    if colon and not (number.isdecimal() and int(number) < there):
        raise ModelRefusedError(f"device {device!r} was asked for, but torch sees {there} of this kind, counted from 0")
    return torch.device(device)


def refuse_offload(offload: Offload, device: torch.device) -> None:
    """Refuse to move weights between main memory and a device that shares it: ModelRefusedError."""
    if offload != "none" and device.type != "cuda":
        raise ModelRefusedError(
            f"--offload {offload} moves weights between main memory and a CUDA device, but the device is "
            f"{str(device)!r}: leave it out"
        )


def offload_networks(denoiser: Any, offload: Offload, device: torch.device) -> None:
    """Let the weights of a denoiser that is on the CPU come to a device when they are used.

    denoiser:  a LatentDenoiser, which has looked at all of its weights before
    """
    pipeline = denoiser.pipeline
    if offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=device)
    else:
        pipeline.enable_model_cpu_offload(device=device)
        encode = pipeline.encode_prompt

        def encode_prompt(*arguments: Any, **keywords: Any) -> Any:
            # A network leaves when the next in the pipeline's order comes, and text encoders are the first.
            pipeline.maybe_free_model_hooks()
            return encode(*arguments, **keywords)

        pipeline.encode_prompt = encode_prompt
    denoiser.device = device


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

"""Weights that wait in main memory while the GPU does not need them, moved by the hooks of diffusers and accelerate."""

from typing import Any, Literal

import torch

from imgaudit.exceptions import ModelRefusedError

Offload = Literal["none", "model", "sequential"]
"""Nothing waits; whole networks do, while another is used; every layer does, until it is used."""


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

"""A model whose process is killed by one kind of image and loses its device by another, loaded by workers of tests."""

import os
import signal

import torch

from imgaudit.models import LoadedModel, load_model

FAILURE = "CUDA error: device-side assert triggered"


def raise_device_failure(images: torch.Tensor) -> torch.Tensor:
    """Raise what torch raises when a GPU has failed."""
    kind = getattr(torch, "AcceleratorError", RuntimeError)
    raise kind(f"{FAILURE}\nCUDA kernel errors might be asynchronously reported at some other API call.")


def load_deadly(folder: str, device: str) -> LoadedModel:
    """Load a model that ends its process when it is shown a picture that is nearly all white.

    Shown one that is nearly all black, its device fails, and from then on at every later use in the same process.
    """
    loaded = load_model(folder, device)
    encode, failed = loaded.denoiser.encode, list[bool]()

    def encode_or_die(images: torch.Tensor) -> torch.Tensor:
        means = images.flatten(1).mean(1)
        if bool((means > 0.9).any()):
            os.kill(os.getpid(), signal.SIGKILL)
        if failed or bool((means < -0.9).any()):
            failed.append(True)
            raise_device_failure(images)
        return encode(images)

    loaded.denoiser.encode = encode_or_die  # type: ignore[method-assign]
    return loaded

"""A model whose process is killed by one kind of image, loaded by workers of tests."""

import os
import signal

import torch

from imgaudit.models import LoadedModel, load_model


def load_deadly(folder: str, device: str) -> LoadedModel:
    """Load a model that ends its process when it is shown a picture that is nearly all white."""
    loaded = load_model(folder, device)
    encode = loaded.denoiser.encode

    def encode_or_die(images: torch.Tensor) -> torch.Tensor:
        if bool((images.flatten(1).mean(1) > 0.9).any()):
            os.kill(os.getpid(), signal.SIGKILL)
        return encode(images)

    loaded.denoiser.encode = encode_or_die  # type: ignore[method-assign]
    return loaded

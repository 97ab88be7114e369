"""Room for workers: the command's own copy of the model waits in main memory while others measure."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from imgaudit.models.loading import LoadedModel


@contextmanager
def set_aside(model: LoadedModel) -> Iterator[None]:
    """Move a model from its device to main memory for the duration; one that is there, or offloaded, stays as it is."""
    components = getattr(getattr(model.denoiser, "pipeline", None), "components", {})
    device = torch.device(getattr(model.denoiser, "device", "cpu"))
    parts = [one for one in components.values() if isinstance(one, torch.nn.Module)]
    # What accelerate offloads is moved by hooks of its own.
    if device.type == "cpu" or any(hasattr(layer, "_hf_hook") for one in parts for layer in one.modules()):
        yield
        return
    for one in parts:
        one.to("cpu")
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        yield
    finally:
        for one in parts:
            one.to(device)

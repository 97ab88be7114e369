"""DINOv2 (Oquab et al. 2023), a network for what images show; a second opinion, and no copy detector by training."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from transformers import Dinov2Model

from imgaudit.exceptions import ModelRefusedError
from imgaudit.io.reading import hash_file
from imgaudit.schema.records import Skipped
from imgaudit.similarity.descriptors.preparation import embed_images, normalise_for_imagenet

REPOSITORY = "facebook/dinov2-base"
"""Repository that is taken from the hub's cache when no folder is named."""

MOST_LAYERS, MOST_WIDTH = 64, 4096
"""Largest networks that are built; the published ones have up to 40 layers and 1,536 numbers."""


class Dinov2Descriptor:
    """The class token after the last layer, of length one; similarity is the cosine. Images are squashed to 224 px."""

    name = "dinov2"
    side = 224
    binary = False

    def __init__(self, network: Any, source: str, device: torch.device | str = "cpu") -> None:
        self.network, self.source = network.eval().requires_grad_(False).to(device), source
        self.device, self.dimension = torch.device(device), int(network.config.hidden_size)

    def _class_tokens(self, images: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = self.network(
            pixel_values=normalise_for_imagenet(images).to(self.device)
        ).last_hidden_state
        return states[:, 0]

    def describe(self, images: torch.Tensor) -> npt.NDArray[np.generic]:
        """Describe (N, 3, H, W) in [-1, 1] as (N, hidden size) float32 of unit length."""
        return embed_images(images, self.side, self._class_tokens, self.dimension)


def load_dinov2(folder: Path | None = None, device: torch.device | str = "cpu") -> Dinov2Descriptor | Skipped:
    """Load DINOv2 from a folder, or from the hub's cache; never download. Skipped, with advice, without it.

    folder:  with config.json and model.safetensors
    Raises ModelRefusedError for a folder that holds no such network, or a pickled, incomplete or absurd one.
    """
    if folder is None:
        try:
            folder = Path(snapshot_download(REPOSITORY, local_files_only=True))
        except (LocalEntryNotFoundError, HfHubHTTPError, OSError):
            return Skipped(skipped=f"{REPOSITORY} is not in the hub's cache; fetch it, or name a folder that holds it")
    if not (folder / "model.safetensors").is_file():
        raise ModelRefusedError(f"{str(folder)!r} has no model.safetensors; pickled weights are not read")
    try:
        config = Dinov2Model.config_class.from_pretrained(folder, local_files_only=True)
        if not (0 < config.num_hidden_layers <= MOST_LAYERS and 0 < config.hidden_size <= MOST_WIDTH):
            raise ModelRefusedError(
                f"{str(folder)!r} describes an absurd network; expected one of the published DINOv2"
            )
        network, found = Dinov2Model.from_pretrained(
            folder, config=config, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except ModelRefusedError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        kind = type(error).__name__
        raise ModelRefusedError(f"{str(folder)!r} cannot be loaded as DINOv2: {kind}: {reason}") from error
    if missing := [*found["missing_keys"], *found["mismatched_keys"]]:
        raise ModelRefusedError(f"{str(folder)!r} lacks {len(missing)} weights that its config.json describes")
    digest = hash_file(folder / "model.safetensors")
    source = f"DINOv2, {config.num_hidden_layers} layers, weights with SHA-256 {digest}"
    return Dinov2Descriptor(network, source, device)

"""SSCD, a network trained to tell copies (Pizzi et al. 2022, arXiv 2202.10261), from its published weights.

The weights are Meta's, MIT licence, files that end in `.torchvision.pt`: torchvision's ResNet-50 whose pooling is GeM
and whose last layer has 512 outputs. For `sscd_disc_mixup` its authors name a cosine of 0.75 as the point where nine of
ten pairs are copies, on the pairs of their own challenge; of a model's generations it says nothing.
"""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torchvision.models import resnet50

from imgaudit.exceptions import ModelRefusedError
from imgaudit.io.reading import hash_file
from imgaudit.similarity.descriptors.preparation import embed_images, normalise_for_imagenet

DIMENSION = 512

PREFIX = "backbone."
"""Before every key of the published files."""


class GeMPool(torch.nn.Module):
    """Generalised mean over positions, (mean x^p)^(1/p) (Radenovic et al. 2018), with p = 3 as SSCD has it."""

    def __init__(self, power: float = 3.0, smallest: float = 1e-6) -> None:
        super().__init__()
        self.power, self.smallest = power, smallest

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Pool (N, C, h, w) to (N, C, 1, 1)."""
        powers = features.clamp(min=self.smallest).pow(self.power)
        return powers.mean(dim=(2, 3), keepdim=True).pow(1 / self.power)


def build_sscd_network(dimension: int = DIMENSION) -> torch.nn.Module:
    """Build the network without weights of its own: (N, 3, 320, 320), as ImageNet has them, to (N, dimension)."""
    network = resnet50(weights=None, num_classes=dimension)
    network.avgpool = GeMPool()
    return cast(torch.nn.Module, network.eval().requires_grad_(False))


class SscdDescriptor:
    """SSCD's vector of 512 numbers, of length one; similarity is the cosine. Images are squashed to 320 x 320."""

    name = "sscd"
    side = 320
    dimension = DIMENSION
    binary = False

    def __init__(self, network: torch.nn.Module, source: str, device: torch.device | str = "cpu") -> None:
        self.network, self.source = network.to(device), source
        self.device = torch.device(device)

    def describe(self, images: torch.Tensor) -> npt.NDArray[np.generic]:
        """Describe (N, 3, H, W) in [-1, 1] as (N, 512) float32 of unit length."""
        return embed_images(
            images, self.side, lambda batch: self.network(normalise_for_imagenet(batch).to(self.device)), self.dimension
        )


def load_sscd(path: Path, device: torch.device | str = "cpu") -> SscdDescriptor:
    """Load SSCD from a published `.torchvision.pt` file, or the same tensors as safetensors.

    A `.pt` file is a pickle: it is read by torch's reader that knows tensors and no code. Raises ModelRefusedError for
    a file that holds anything else, for the formats of other libraries, and for weights that are missing, left over, of
    another shape or not finite.
    """
    weights = _read(path)
    network = build_sscd_network()
    wanted = {f"{PREFIX}{key}": tuple(weight.shape) for key, weight in network.state_dict().items()}
    found = {key: tuple(weight.shape) for key, weight in weights.items()}
    if found != wanted:
        odd = sorted({key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key)})
        raise ModelRefusedError(
            f"{str(path)!r} does not hold SSCD's ResNet-50 in torchvision's layout: {len(odd)} weights are missing, "
            f"left over or of another shape (such as {odd[0]!r:.99}); expected the file sscd_disc_mixup.torchvision.pt"
        )
    if not all(bool(torch.isfinite(weight).all()) for weight in weights.values()):
        raise ModelRefusedError(f"{str(path)!r} has weights that are not finite; fetch it again")
    network.load_state_dict({key.removeprefix(PREFIX): weight for key, weight in weights.items()})
    digest = hash_file(path)
    return SscdDescriptor(network, f"SSCD ResNet-50, weights with SHA-256 {digest}", device)


def _read(path: Path) -> Mapping[str, torch.Tensor]:
    if not path.is_file():
        raise ModelRefusedError(
            f"there is no file {str(path)!r}; expected Meta's sscd_disc_mixup.torchvision.pt, of the models that the "
            "repository facebookresearch/sscd-copy-detection links to"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if not zipfile.is_zipfile(path):
            raise ModelRefusedError(f"{str(path)!r} is neither safetensors nor a file of torch.save; fetch it again")
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, pickle.UnpicklingError, ValueError, EOFError, KeyError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise ModelRefusedError(f"{str(path)!r} cannot be read as weights alone: {reason}") from error
    if not isinstance(weights, Mapping) or not all(isinstance(one, torch.Tensor) for one in weights.values()):
        raise ModelRefusedError(f"{str(path)!r} holds something else than named tensors")
    return weights

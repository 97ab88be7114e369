"""Descriptors by name, each with its weights, or the reason why it is not available."""

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from imgaudit.exceptions import ConfigError
from imgaudit.schema.records import Skipped
from imgaudit.similarity.descriptors.descriptor import Descriptor
from imgaudit.similarity.descriptors.detail import DetailDescriptor
from imgaudit.similarity.descriptors.known_answers import require_known_answers
from imgaudit.similarity.descriptors.pdq import PdqDescriptor
from imgaudit.similarity.descriptors.pixel import PixelDescriptor

WITHOUT_WEIGHTS: Mapping[str, Callable[[], Descriptor]] = {
    "detail": DetailDescriptor, "pixel": PixelDescriptor, "pdq": PdqDescriptor
}  # fmt: skip

SSCD_FILE = "sscd_disc_mixup.torchvision.pt"
"""Name of the published file, where torch keeps what it fetches."""

DESCRIPTOR_NAMES = (*WITHOUT_WEIGHTS, "sscd", "sscd-int8", "dinov2")
"""Those that there are, without weights first."""


def load_descriptor(name: str, weights: Path | None = None, device: torch.device | str = "cpu") -> Descriptor | Skipped:
    """Load a descriptor and check its known answers; Skipped, with advice, without its weights. Never download.

    name:     one of DESCRIPTOR_NAMES
    weights:  file of SSCD, or folder of DINOv2; by default where torch and the hub keep what was fetched
    Raises ConfigError for another name, ModelRefusedError for weights that are there and not to be trusted.

    >>> load_descriptor("pixel").name
    'pixel'
    """
    if name not in DESCRIPTOR_NAMES:
        raise ConfigError(f"there is no descriptor {name!r:.80}; expected one of {', '.join(DESCRIPTOR_NAMES)}")
    loaded = _load(name, weights, device)
    if not isinstance(loaded, Skipped):
        require_known_answers(loaded)
    return loaded


def _load(name: str, weights: Path | None, device: torch.device | str) -> Descriptor | Skipped:
    if name in WITHOUT_WEIGHTS:
        return WITHOUT_WEIGHTS[name]()
    if name == "sscd":
        if importlib.util.find_spec("torchvision") is None:
            return Skipped(skipped="torchvision is not installed: pip install torchvision")
        from imgaudit.similarity.descriptors.sscd import load_sscd

        path = weights or Path(torch.hub.get_dir()) / "checkpoints" / SSCD_FILE
        if weights is None and not path.is_file():
            return Skipped(
                skipped=f"{SSCD_FILE} is not on this machine: fetch it from the page of facebookresearch/"
                "sscd-copy-detection into `checkpoints` in torch's hub folder"
            )
        return load_sscd(path, device)
    if name == "sscd-int8":
        from imgaudit.similarity.descriptors.sscd_int8 import load_sscd_int8

        return load_sscd_int8()
    from imgaudit.similarity.descriptors.dinov2 import load_dinov2

    return load_dinov2(weights, device)

"""Masks of weights as safetensors files: one bit a weight, with what they were made from."""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from imgaudit.exceptions import InputError
from imgaudit.io.writing import write_atomically
from imgaudit.mitigation.activations import TrajectorySettings
from imgaudit.mitigation.wanda import Mask
from imgaudit.schema.records import Record

LARGEST_MASK = 2**29
"""Bytes: four thousand million weights, one bit each."""


class MaskFacts(Record):
    """The origin of a mask."""

    schema_version: int = 1
    """Version of this format."""
    fingerprint: str
    """Fingerprint of the model whose weights it marks."""
    method: str = "wanda"
    """What found the weights: wanda, what prompts activate, or importance, what images' errors depend on."""
    sparsity: float = Field(gt=0, le=1)
    """By wanda, share of each row that was looked at; by importance, share of all weights to be marked."""
    trajectory: TrajectorySettings | None = None
    """By wanda, steps and seed."""
    draws: int | None = None
    """By importance, draws of noise for each image."""
    seed: int | None = None
    """By importance, seed of these draws."""
    targets_sha256: str
    """Over the prompts that locate, by importance over the images' SHA-256 and captions."""
    targets: int
    """Number of target prompts or images."""
    references_sha256: str
    """Over those that they were compared with; by wanda the empty prompt, as often, unless others were given."""
    references: int
    """Number of prompts or images they were compared with."""
    density: float
    """Share of the weights of the layers looked at that is marked."""

    @property
    def made_by(self) -> str:
        """How the weights were found, in words."""
        if self.trajectory is not None:
            return f"sparsity {self.sparsity:g}, first {self.trajectory.steps} steps, {self.targets} prompts"
        return (
            f"{self.sparsity:.2%} of the weights, by the errors of {self.targets} images and {self.references} others, "
            f"{self.draws} draws each, seed {self.seed}"
        )


def digest(origin: object) -> str:
    """Return the SHA-256 of what a mask was made from, as JSON."""
    return hashlib.sha256(json.dumps(origin).encode()).hexdigest()


def write_mask(path: Path, mask: Mask, facts: MaskFacts) -> None:
    """Write a mask, whole or not at all."""
    tensors = {name: torch.from_numpy(np.packbits(one.numpy(), axis=1)) for name, one in mask.items()}
    shapes = {name: list(one.shape) for name, one in mask.items()}
    metadata = {"imgaudit": facts.model_dump_json(), "shapes": json.dumps(shapes)}
    write_atomically(path, save(tensors, metadata=metadata))


def read_mask(path: Path) -> tuple[Mask, MaskFacts]:
    """Read a mask and its origin. Raises InputError for any other file, with the reason."""
    if not path.is_file() or path.stat().st_size > LARGEST_MASK:
        raise InputError(
            f"{str(path)!r} is no mask: expected a file that `imgaudit mitigate locate` or `locate-images` wrote"
        )
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            facts = MaskFacts.model_validate_json(metadata["imgaudit"])
            shapes = dict(json.loads(metadata["shapes"]))
            mask = {name: _unpacked(file.get_tensor(name), shapes[name]) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValidationError, KeyError, ValueError, TypeError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{str(path)!r} is no mask of weights: {type(error).__name__}: {reason}") from error
    if mask.keys() != shapes.keys() or not mask:
        raise InputError(f"{str(path)!r} is no mask of weights: it lacks layers that it describes")
    return mask, facts


def _unpacked(packed: torch.Tensor, shape: object) -> torch.Tensor:
    if not isinstance(shape, list) or len(shape) != 2 or not all(isinstance(side, int) and side > 0 for side in shape):
        raise ValueError(f"a layer's shape is {shape!r:.80}")
    if packed.dtype != torch.uint8 or tuple(packed.shape) != (shape[0], -(-shape[1] // 8)):
        raise ValueError(f"bits of shape {tuple(packed.shape)} for weights of shape {tuple(shape)}")
    bits = np.unpackbits(packed.numpy(), axis=1, count=shape[1])
    return torch.from_numpy(bits.astype(bool))

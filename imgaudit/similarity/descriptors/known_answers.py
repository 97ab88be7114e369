"""A check before anything rests on a descriptor: drawings made from numbers, copies of them, and others."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import interpolate

from imgaudit.exceptions import ModelRefusedError
from imgaudit.similarity.descriptors.descriptor import Descriptor, compare_vectors

DRAWINGS = 5
"""Different drawings, each compared with its copies and with all others."""


@dataclass(frozen=True)
class KnownAnswers:
    """Similarities that show whether a descriptor tells copies from others."""

    copies: float
    """Lowest similarity of a drawing with one of its own copies."""
    others: float
    """Highest similarity of two different drawings, mean over the drawings."""
    itself: float
    """Lowest similarity of a drawing with itself, which should be 1."""

    @property
    def right(self) -> bool:
        """True when a drawing is itself, and every copy is closer than others usually are."""
        return math.isfinite(self.copies) and self.itself > 0.999 and self.copies > self.others + 0.05


def make_drawing(number: int, side: int = 128) -> torch.Tensor:
    """Draw stripes, tiles and discs: (3, side, side) in [-1, 1], another picture for every number, nothing random.

    >>> bool((make_drawing(1) == make_drawing(1)).all()), bool((make_drawing(1) == make_drawing(2)).all())
    (True, False)
    """

    def scattered(count: int, start: int) -> torch.Tensor:
        """Return numbers in [0, 1) without a pattern, the same on every machine."""
        angles = (torch.arange(count) + start + 97 * number).double() * 12.9898
        return (torch.sin(angles) * 43758.5453).frac().abs().float()

    axis = torch.linspace(0, 1, side)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    rows = 2 + number % 5
    tiles = interpolate(scattered(3 * rows * rows, 0).reshape(1, 3, rows, rows), (side, side), mode="nearest")[0]
    turn, waves = math.pi * float(scattered(1, 500)), 4 + 3 * (number % 4)
    stripes = torch.sin(2 * math.pi * waves * (x * math.cos(turn) + y * math.sin(turn)))
    picture = tiles * 2 - 1 + 0.4 * stripes
    for disc in range(2 + number % 3):
        horizontal, vertical, radius, *colour = scattered(6, 600 + 7 * disc).tolist()
        inside = (x - horizontal) ** 2 + (y - vertical) ** 2 < (0.1 + 0.15 * radius) ** 2
        picture = torch.where(inside, 2 * torch.tensor(colour)[:, None, None] - 1, picture)
    return picture.clamp(-1, 1)


def make_copies(picture: torch.Tensor) -> torch.Tensor:
    """Make three copies (3, 3, side, side): smaller and back, darker, with a faint pattern."""
    side = picture.shape[-1]
    small = interpolate(picture[None], (side // 2, side // 2), mode="area")
    back = interpolate(small, (side, side), mode="bilinear", align_corners=False)[0]
    pattern = 0.05 * torch.sin(torch.arange(side) * 2.3).expand(3, side, side)
    return torch.stack([back, picture * 0.8 - 0.1, picture + pattern]).clamp(-1, 1)


def measure_known_answers(descriptor: Descriptor) -> KnownAnswers:
    """Describe the drawings, their copies and each other.

    >>> from imgaudit.similarity.descriptors.pixel import PixelDescriptor
    >>> measure_known_answers(PixelDescriptor()).right
    True
    """
    pictures = torch.stack([make_drawing(number, max(128, descriptor.side)) for number in range(DRAWINGS)])
    vectors = descriptor.describe(pictures)
    copied = descriptor.describe(torch.cat([make_copies(picture) for picture in pictures]))
    own = compare_vectors(descriptor, np.repeat(vectors, 3, axis=0), copied)
    nearest = []
    for row in range(DRAWINGS):
        others = np.delete(vectors, row, axis=0)
        nearest.append(max(compare_vectors(descriptor, np.repeat(vectors[row : row + 1], len(others), axis=0), others)))
    again = compare_vectors(descriptor, vectors, descriptor.describe(pictures))
    return KnownAnswers(copies=min(own), others=float(np.mean(nearest)), itself=min(again))


def require_known_answers(descriptor: Descriptor) -> KnownAnswers:
    """Refuse a descriptor that does not tell copies from others, as with other weights. Raises ModelRefusedError."""
    found = measure_known_answers(descriptor)
    if not found.right:
        raise ModelRefusedError(
            f"descriptor {descriptor.name!r} does not give the known answers: a copy of a drawing at similarity "
            f"{found.copies:.3f}, other drawings at {found.others:.3f}, a drawing with itself at {found.itself:.3f}; "
            "its weights are not those of a copy detector"
        )
    return found

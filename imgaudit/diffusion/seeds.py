"""Seeds of random draws, which depend on run seed, image, purpose and index alone; and the initial noise of a seed."""

import hashlib
from collections.abc import Sequence

import torch


def draw_seed(run_seed: int, sha256: str, purpose: str, index: int = 0) -> int:
    """Return the seed of one random draw: 63 bits that depend on nothing but the arguments.

    Order, batching and sharding therefore cannot change a number.

    >>> draw_seed(0, "00", "replica", 0) == draw_seed(0, "00", "replica", 0)
    True
    >>> draw_seed(0, "00", "replica", 0) == draw_seed(0, "00", "replica", 1)
    False
    """
    digest = hashlib.sha256(f"{run_seed}:{sha256}:{purpose}:{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def draw_noise(seeds: Sequence[int], shape: tuple[int, int, int]) -> torch.Tensor:
    """Return standard normal latents, one CPU generator per seed: (len(seeds), C, h, w) float32."""
    return torch.stack([torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed)) for seed in seeds])

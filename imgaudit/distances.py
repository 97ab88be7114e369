"""Distances between two images of one size: pairwise, lower is closer."""

from typing import Protocol

import torch


class Distance(Protocol):
    """Compares images pair by pair."""

    @property
    def name(self) -> str:
        """Short name, a key in records."""

    @property
    def source(self) -> str:
        """Where the weights or the algorithm come from, with checksum or version."""

    def measure(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Two (N, 3, H, W) batches in [-1, 1] to (N,) float32, >= 0; lower is closer."""


class AlignedRms:
    """Root mean square difference of intensities in [0, 1], at the best shift of up to a sixteenth of the side.

    Only the interior that every shift covers is compared.
    """

    name = "aligned_rms"
    source = "imgaudit: RMS at the best shift of up to a sixteenth of the side"

    def measure(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) twice to (N,)."""
        reach = max(1, left.shape[-1] // 16)
        height, width = left.shape[-2] - 2 * reach, left.shape[-1] - 2 * reach
        inner = left[..., reach : reach + height, reach : reach + width]
        best = torch.full((len(left),), float("inf"))
        for y in range(2 * reach + 1):
            for x in range(2 * reach + 1):
                shifted = right[..., y : y + height, x : x + width]
                best = torch.minimum(best, ((inner - shifted) / 2).square().flatten(1).mean(dim=1))
        return best.sqrt()


class TiledRms:
    """The largest root mean square difference (intensities in [0, 1]) of any tile of a 4 x 4 grid.

    A shared background cannot hide a difference: the worst tile counts (Carlini et al. 2023).
    """

    name = "tiled_rms"
    source = "imgaudit: largest RMS of a 4 x 4 grid of tiles"
    grid = 4

    def measure(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) twice to (N,); sides need not divide by the grid."""
        squares = ((left - right) / 2).square().mean(dim=1)
        tiles = [
            tile.flatten(1).mean(dim=1)
            for rows in torch.tensor_split(squares, self.grid, dim=1)
            for tile in torch.tensor_split(rows, self.grid, dim=2)
        ]
        return torch.stack(tiles).amax(dim=0).sqrt()


DEFAULT_DISTANCES: tuple[Distance, ...] = (AlignedRms(), TiledRms())
"""What needs no download."""

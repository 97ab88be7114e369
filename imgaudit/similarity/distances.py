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
        """Origin of the weights or the algorithm, with checksum or version."""

    def measure(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Measure two (N, 3, H, W) batches in [-1, 1]: (N,) float32, >= 0; lower is closer."""


class AlignedRms:
    """Root mean square difference of intensities in [0, 1], at the best shift of up to a sixteenth of the side.

    Only the interior that every shift covers is compared.
    """

    name = "aligned_rms"
    source = "imgaudit: RMS at the best shift of up to a sixteenth of the side"

    def measure(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Measure two (N, 3, H, W) batches in [-1, 1]: (N,) float32, >= 0; lower is closer."""
        reach = max(1, left.shape[-1] // 16)
        # One pair at a time: spectra take several times the memory of the images.
        return torch.tensor([self._distance(own, other, reach) for own, other in zip(left, right, strict=True)])

    @staticmethod
    def _distance(left: torch.Tensor, right: torch.Tensor, reach: int) -> float:
        height, width = left.shape[-2] - 2 * reach, left.shape[-1] - 2 * reach
        inner = left[:, reach : reach + height, reach : reach + width]
        y, x = divmod(int(_measure_shifts(inner, right).argmin()), 2 * reach + 1)
        # Once more at the best shift: a difference of large sums has no digits left where images are equal.
        return float(((inner - right[:, y : y + height, x : x + width]) / 2).square().mean().sqrt())


def _measure_shifts(inner: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Compare (C, h, w) with (C, H, W) at every shift: (H - h + 1, W - w + 1), without the part of `inner` alone.

    |a - b|^2 = |a|^2 - 2 a b + |b|^2, the middle term by the Fourier transform: shifts cost next to nothing.
    """
    height, width = inner.shape[-2:]
    size = right.shape[-2:]
    spectrum = torch.fft.rfft2(inner.double(), s=size).conj() * torch.fft.rfft2(right.double())
    rows, columns = size[0] - height + 1, size[1] - width + 1
    products = torch.fft.irfft2(spectrum, s=size)[..., :rows, :columns].sum(dim=0)
    sums = torch.nn.functional.pad(right.double().square().sum(dim=0), (1, 0, 1, 0)).cumsum(dim=0).cumsum(dim=1)
    across = sums[:, width:] - sums[:, :-width]
    difference: torch.Tensor = across[height:] - across[:-height] - 2 * products
    return difference


class TiledRms:
    """The largest root mean square difference (intensities in [0, 1]) of any tile of a 4 x 4 grid.

    A shared background cannot hide a difference: the worst tile counts (Carlini et al. 2023).
    """

    name = "tiled_rms"
    source = "imgaudit: largest RMS of a 4 x 4 grid of tiles"
    grid = 4

    def measure(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Measure two (N, 3, H, W) batches in [-1, 1]: (N,) float32, >= 0; lower is closer."""
        squares = ((left - right) / 2).square().mean(dim=1)
        tiles = [
            tile.flatten(1).mean(dim=1)
            for rows in torch.tensor_split(squares, self.grid, dim=1)
            for tile in torch.tensor_split(rows, self.grid, dim=2)
        ]
        return torch.stack(tiles).amax(dim=0).sqrt()


class StructuralDissimilarity:
    """(1 - SSIM) / 2 in [0, 1], 0 for equal images: the mean over windows and channels, by scikit-image.

    SSIM of Wang, Bovik, Sheikh & Simoncelli 2004, in uniform windows of 7 x 7 pixels, or the largest odd side that a
    smaller image has. It is reported and decides nothing.
    """

    name = "dssim"
    source = "scikit-image: (1 - structural_similarity) / 2, uniform windows of 7 x 7"
    window = 7

    def measure(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Measure two (N, 3, H, W) batches in [-1, 1]: (N,) float32, >= 0; lower is closer."""
        # Imported here, because it takes a second that not every command has use for.
        from skimage.metrics import structural_similarity

        side = min(self.window, *left.shape[-2:])
        values = [
            structural_similarity(a, b, win_size=side - 1 + side % 2, channel_axis=0, data_range=1.0)
            for a, b in zip(((left.float() + 1) / 2).numpy(), ((right.float() + 1) / 2).numpy(), strict=True)
        ]
        return torch.tensor([(1 - value) / 2 for value in values], dtype=torch.float32)


DEFAULT_DISTANCES: tuple[Distance, ...] = (AlignedRms(), TiledRms(), StructuralDissimilarity())
"""Distances that need no download."""

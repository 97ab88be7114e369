"""What of two images lies outside the region where they agree: are they alike there too, or is only a part a copy?"""

import torch
from torch.nn.functional import interpolate

from imgaudit.schema.pairs import WHOLE, Region
from imgaudit.schema.records import Skipped

SIDE = 32
"""Cells of a side at which the rest is compared: those of the pixel descriptor, so that one threshold serves both."""

FLAT = 0.02
"""Standard deviation of intensities in [0, 1] below which the rest shows nothing that could be copied or not."""


def measure_rest_similarity(target: torch.Tensor, image: torch.Tensor, region: Region) -> float | Skipped:
    """Return the Pearson correlation of cells and channels outside the region, in [-1, 1]; higher is closer.

    target, image:  (3, H, W) in [-1, 1], of one size
    region:         where they agree, in the target
    Skipped where less than a fifth lies outside, and where the target's rest is flat: of nothing it cannot be said
    whether it was copied.
    """
    if region.area >= WHOLE:
        return Skipped(skipped=f"{region.area:.0%} of the image agrees")
    mask = torch.from_numpy(region.mask()).float()[None, None]
    outside = interpolate(mask, (SIDE, SIDE), mode="area")[0, 0] < 0.5
    small = interpolate(torch.stack([target, image]).float(), (SIDE, SIDE), mode="area")
    own, other = small[:, :, outside].flatten(1)
    if float(own.std()) / 2 < FLAT:
        return Skipped(skipped="the rest of the image is flat")
    own, other = own - own.mean(), other - other.mean()
    return float(own @ other / (own.norm() * other.norm()).clamp(min=1e-6))

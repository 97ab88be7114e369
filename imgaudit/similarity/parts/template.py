"""Templates: images of one layout with a changing region, compared only where the layout stays the same.

After Webster 2023 (arXiv 2305.08694): what stays the same between near-duplicates is the mask; images are compared by
their squared differences under it. Unlike the comparison of a pair it needs the layout in its place.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch.nn.functional import interpolate

from imgaudit.exceptions import InputError
from imgaudit.schema.pairs import Region
from imgaudit.similarity.parts.picture import Mask

SIDE = 256
"""Pixels of a side at which a template is compared, as in the paper: images are squashed to a square."""

SAME = 0.03
"""Difference of intensities in [0, 1] below which a pixel stays the same."""

EROSION, DILATION = 3, 6
"""Pixels: specks of chance agreement go, what is left grows back."""

LEAST_MASK = 0.02
"""Share of the area that must stay the same: images with less share no layout."""


@dataclass(frozen=True)
class Template:
    """A layout: what several images have in common."""

    mean: torch.Tensor
    """(3, SIDE, SIDE) in [-1, 1], the mean of the images."""
    mask: Mask
    """(SIDE, SIDE): where they are the same."""

    @property
    def region(self) -> Region:
        """The mask, to be drawn."""
        return Region.of(self.mask)

    @classmethod
    def of(cls, images: Sequence[torch.Tensor], *, same: float = SAME) -> "Template":
        """Find what two or more images (3, H, W) in [-1, 1] of one family, of any sizes, have in common.

        same:  difference of intensities in [0, 1] below which a pixel stays the same; more for images that were
               compressed differently
        Raises InputError with fewer than two images, and when they have no layout in common.
        """
        if len(images) < 2:
            raise InputError(f"expected at least two images of one family, got {len(images)}")
        squares = torch.stack([squash_image(image) for image in images])
        mean = squares.mean(dim=0)
        # Half the range of a channel over all images: for two of them, half their difference.
        differs = ((squares.amax(dim=0) - squares.amin(dim=0)) / 2).amax(dim=0).numpy()
        steady = cv2.erode((differs < same).astype(np.uint8), np.ones((EROSION, EROSION), np.uint8))
        mask = cv2.dilate(steady, np.ones((DILATION, DILATION), np.uint8)).astype(bool)
        if mask.mean() < LEAST_MASK:
            raise InputError(
                f"the images have no layout in common: {mask.mean():.1%} of the area stays the same, at least "
                f"{LEAST_MASK:.0%} is needed; give images of one template"
            )
        return cls(mean, mask)

    def distance(self, image: torch.Tensor) -> float:
        """Return the root mean square difference of intensities in [0, 1] under the mask; lower is closer.

        The paper's SSE(mask * image, mask * template) / mean(mask) < 2500 over 256 x 256 x 3 values is a distance below
        0.113.
        """
        difference = ((squash_image(image) - self.mean) / 2).square().mean(dim=0)
        return float(difference[torch.from_numpy(self.mask)].mean().sqrt())

    def correlation(self, image: torch.Tensor) -> float:
        """Return the Pearson correlation of values under the mask, in [-1, 1]; 0 where either image is constant.

        Unlike the distance it sees neither brightness nor contrast, and a blank layout resembles nothing.
        """
        inside = torch.from_numpy(self.mask)
        both = torch.stack([self.mean[:, inside].flatten(), squash_image(image)[:, inside].flatten()]).double()
        both = both - both.mean(dim=1, keepdim=True)
        norms = both.norm(dim=1)
        return float(both[0] @ both[1] / norms.prod()) if float(norms.min()) > 1e-3 else 0.0


def squash_image(image: torch.Tensor) -> torch.Tensor:
    """Squash (3, H, W) to (3, SIDE, SIDE). Raises InputError for other shapes and for NaN and infinity."""
    if image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
        raise InputError(f"expected an image of shape (3, H, W), got {tuple(image.shape)}")
    if not torch.isfinite(image).all():
        raise InputError("expected an image of finite numbers in [-1, 1], got NaN or infinity")
    small = image.detach().float().cpu().clamp(-1, 1)[None]
    return interpolate(small, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)[0].clamp(-1, 1)

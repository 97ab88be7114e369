"""PDQ, Meta's perceptual hash of 256 bits. It needs no weights."""

import numpy as np
import numpy.typing as npt
import pdqhash
import torch

USABLE_QUALITY = 50
"""PDQ's authors discard hashes of lower quality: plain pictures, whose bits say nothing about them."""


class PdqDescriptor:
    """Meta's PDQ, a 256-bit perceptual hash; similarity is 1 - Hamming distance / 256.

    Meant for images of several hundred pixels. At 32 pixels a faint noise moves a third of true pairs past the usual
    31 bits, so it is reported beside the pixel legs and never decides alone.
    """

    name = "pdq"
    side = 256
    dimension = 256
    binary = True
    source = "pdqhash (ThreatExchange PDQ)"

    def describe(self, images: torch.Tensor) -> npt.NDArray[np.generic]:
        """Describe (N, 3, H, W) in [-1, 1] as (N, 32) uint8."""
        return self.describe_with_quality(images)[0]

    def describe_with_quality(self, images: torch.Tensor) -> tuple[npt.NDArray[np.generic], list[int]]:
        """Return the descriptions, and PDQ's own quality of each, 0 to 100; below `USABLE_QUALITY` a hash is noise."""
        array = ((images.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        hashed = [pdqhash.compute(np.ascontiguousarray(image)) for image in array]
        if not hashed:
            return np.zeros((0, 32), np.uint8), []
        bits = np.stack([one for one, _ in hashed]).astype(np.uint8)
        return np.packbits(bits, axis=1), [int(quality) for _, quality in hashed]

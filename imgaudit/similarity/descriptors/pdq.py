"""PDQ, Meta's perceptual hash of 256 bits. It needs no weights."""

import numpy as np
import numpy.typing as npt
import pdqhash
import torch


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
        array = ((images.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        bits = [pdqhash.compute(np.ascontiguousarray(image))[0] for image in array]
        return np.packbits(np.stack(bits).astype(np.uint8), axis=1) if bits else np.zeros((0, 32), np.uint8)

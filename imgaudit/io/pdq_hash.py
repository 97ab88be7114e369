"""The PDQ hash of a whole image, by which near copies of one size or another are told."""

import numpy as np
import pdqhash
from PIL import Image

ENOUGH_SIDE = 512
"""Larger images are reduced first, by a whole number: PDQ averages down to 64 x 64 anyway, and takes seconds for the
pixels of a camera. It changes few of the 256 bits."""


def hash_whole_image(image: Image.Image) -> str:
    """Return the PDQ hash of an image, 64 hexadecimal digits; empty where PDQ calls it flat.

    >>> noise = Image.effect_noise((2000, 3000), 90)
    >>> len(hash_whole_image(noise)), hash_whole_image(Image.new("RGB", (64, 64)))
    (64, '')
    """
    factor = min(image.size) // ENOUGH_SIDE
    small = image.convert("RGB").reduce(factor) if factor > 1 else image.convert("RGB")
    bits, quality = pdqhash.compute(np.asarray(small))
    return np.packbits(np.asarray(bits, dtype=np.uint8)).tobytes().hex() if quality >= 50 else ""

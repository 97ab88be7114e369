"""The hash of a whole image: of cameras' pixels as of a thumbnail's."""

import numpy as np
import pdqhash
from PIL import Image

from imgaudit.io.pdq_hash import hash_whole_image
from tests.conftest import random_image


def differing(left: str, right: str) -> int:
    return (int(left, 16) ^ int(right, 16)).bit_count()


def test_large_images_are_reduced_without_changing_more_than_a_few_bits() -> None:
    image = random_image(3, (30, 20)).resize((3000, 2000), Image.Resampling.BICUBIC)
    bits, quality = pdqhash.compute(np.asarray(image))
    own = np.packbits(np.asarray(bits, dtype=np.uint8)).tobytes().hex()
    assert quality >= 50 and differing(hash_whole_image(image), own) <= 8
    thumbnail = image.resize((320, 213), Image.Resampling.LANCZOS)
    assert differing(hash_whole_image(image), hash_whole_image(thumbnail)) <= 31
    other = random_image(4, (30, 20)).resize((3000, 2000), Image.Resampling.BICUBIC)
    assert differing(hash_whole_image(image), hash_whole_image(other)) > 62


def test_a_flat_image_has_no_hash() -> None:
    assert hash_whole_image(Image.new("RGB", (600, 600), (90, 90, 90))) == ""

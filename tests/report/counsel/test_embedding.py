"""Embedded pictures: bounded, and without loss where they are small."""

import base64

import numpy as np
from PIL import Image

from imgaudit.io.writing import decode_png
from imgaudit.report.counsel.embedding import LONGEST, embed_picture
from tests.conftest import random_image


def test_small_pictures_are_enlarged_without_blur_and_large_ones_are_made_smaller() -> None:
    small = random_image(1, (32, 16))
    kind, content = embed_picture(small).split(",")
    assert kind == "data:image/png;base64"
    enlarged = decode_png(base64.b64decode(content))
    assert enlarged.size == (256, 128)
    assert np.array_equal(np.asarray(enlarged)[::8, ::8], np.asarray(small))
    kind, content = embed_picture(Image.new("RGB", (3000, 30))).split(",")
    assert kind == "data:image/jpeg;base64" and len(content) < 20_000 and LONGEST == 1000

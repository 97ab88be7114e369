"""JPEG 2000 of more than 8 bits: grey is reduced and noted, colours are refused."""

import numpy as np
import pytest

from imgaudit.exceptions import ImageError
from imgaudit.io.formats.jpeg2000 import read_depth
from imgaudit.io.images import decode_image
from tests.conftest import random_image

imagecodecs = pytest.importorskip("imagecodecs")
PICTURE = np.asarray(random_image(1, (64, 48)))


@pytest.mark.parametrize("form", ["jp2", "j2k"])
def test_the_depth_is_read_from_files_and_codestreams(form: str) -> None:
    for bits in (8, 10, 12, 16):
        samples = PICTURE.astype(np.uint8 if bits == 8 else np.uint16)
        data = imagecodecs.jpeg2k_encode(samples, level=0, bitspersample=bits, codecformat=form)
        assert read_depth(data) == bits


@pytest.mark.parametrize("bits", [12, 16])
def test_deep_grey_is_read_and_deep_colours_are_refused(bits: int) -> None:
    deep = (PICTURE / 255 * (2**bits - 1)).round().astype(np.uint16)
    grey = decode_image(imagecodecs.jpeg2k_encode(deep[..., 0], level=0, bitspersample=bits))
    assert np.abs(np.asarray(grey.pixels)[..., 0].astype(int) - PICTURE[..., 0]).max() <= 1
    assert "reduced to 8 bit" in grey.notes
    # White must not come out black, which Pillow 13 makes of it.
    with pytest.raises(ImageError, match=f"JPEG 2000 of {bits} bits in colour"):
        decode_image(imagecodecs.jpeg2k_encode(deep, level=0, bitspersample=bits))

"""Boxes of HEIF and AVIF: depth, colours, gain maps and other pictures of files that real encoders write."""

import io

import numpy as np
import pytest
from PIL import Image

from imgaudit.exceptions import ImageError
from imgaudit.io.formats.heif import read_heif_structure
from imgaudit.io.images import decode_image
from tests.conftest import random_image

pillow_heif = pytest.importorskip("pillow_heif")


def heic(bits: int = 8, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture = np.asarray(random_image(1, (64, 48)))
    samples = picture if bits == 8 else picture.astype("<u2") * np.uint16(257)
    mode = "RGB" if bits == 8 else "RGB;16"
    pillow_heif.encode(mode, (64, 48), samples.tobytes(), buffer, quality=90, **options)
    return buffer.getvalue()


def test_more_bits_than_eight_are_noted() -> None:
    assert read_heif_structure(heic()).bits == 8 and "reduced from 10 to 8 bit" not in decode_image(heic()).notes
    assert read_heif_structure(heic(10)).bits == 10 and "reduced from 10 to 8 bit" in decode_image(heic(10)).notes


def test_the_colours_of_nclx_are_converted_or_refused() -> None:
    options = {"matrix_coefficients": 6, "full_range_flag": 1, "save_nclx_profile": True}
    wide = heic(color_primaries=12, transfer_characteristics=13, **options)
    assert read_heif_structure(wide).coding == (12, 13)
    assert "Display P3 (nclx) converted to sRGB" in decode_image(wide).notes
    plain = heic(color_primaries=1, transfer_characteristics=13, **options)
    distance = np.abs(np.asarray(decode_image(wide).pixels, float) - np.asarray(decode_image(plain).pixels, float))
    assert distance.mean() > 2
    with pytest.raises(ImageError, match=r"high dynamic range \(PQ\)"):
        decode_image(heic(10, color_primaries=9, transfer_characteristics=16, **options))


def test_several_pictures_are_noted_and_the_primary_is_read() -> None:
    file = pillow_heif.from_pillow(random_image(1, (64, 48)))
    file.add_from_pillow(random_image(2, (64, 48)))
    buffer = io.BytesIO()
    file.save(buffer, quality=90, primary_index=1)
    loaded = decode_image(buffer.getvalue())
    assert "primary of 2 pictures; the others are not examined" in loaded.notes
    wanted = np.asarray(random_image(2, (64, 48)), dtype=float)
    assert np.abs(np.asarray(loaded.pixels, dtype=float) - wanted).mean() < 10


def test_bytes_elsewhere_are_no_declaration() -> None:
    """A profile or a film may hold the letters of a box."""
    data = heic() + b"\0\0\0\x20free" + b"colrnclx\0\x09\0\x10\0\x09\x80" + bytes(9)
    assert read_heif_structure(data).coding in {None, (1, 13)}
    decode_image(data)


def test_a_film_beside_the_picture_is_noted() -> None:
    data = heic() + b"\0\0\0\x10mpvd" + bytes(8)
    assert "film beside the picture ignored" in decode_image(data).notes


@pytest.mark.skipif("AVIF" not in Image.registered_extensions().values(), reason="Pillow without AVIF")
def test_boxes_of_an_avif_are_read() -> None:
    buffer = io.BytesIO()
    random_image(1, (64, 48)).save(buffer, "AVIF")
    structure = read_heif_structure(buffer.getvalue())
    assert structure.bits == 8 and structure.pictures == 1 and not structure.gain_map


@pytest.mark.parametrize("length", [0, 7, 8, 30, 100, 200, 300, 400, 500])
def test_a_cut_file_says_less(length: int) -> None:
    assert read_heif_structure(heic()[:length]).pictures <= 1

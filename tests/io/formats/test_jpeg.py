"""Markers of a JPEG: counted inside the picture only."""

import io

import numpy as np
import pytest
from PIL import Image

from imgaudit.exceptions import ImageError
from imgaudit.io.formats.jpeg import find_film, read_jpeg_structure
from imgaudit.io.images import decode_image
from tests.conftest import random_image

FILM = b"\x00\x00\x00\x18ftypmp42" + np.random.default_rng(7).bytes(9 << 20)
"""Bytes like those of a film: among 9 MiB of them are about 140 that look like the start of a scan."""


def jpeg(**options: object) -> bytes:
    buffer = io.BytesIO()
    random_image(1, (64, 48)).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def test_a_film_behind_a_photograph_is_no_scan() -> None:
    photo = jpeg()
    assert FILM.count(b"\xff\xda") > 100
    structure = read_jpeg_structure(photo + FILM)
    assert structure.scans == 1 and structure.end == len(photo) and find_film(photo + FILM, structure.end)
    assert decode_image(photo + FILM).pixels.tobytes() == decode_image(photo).pixels.tobytes()


def test_bytes_in_a_comment_are_no_scan() -> None:
    photo = jpeg(comment=b"\xff\xda\x00\x02" * 200)
    assert read_jpeg_structure(photo).scans == 1
    decode_image(photo)


def test_scans_of_a_progressive_file_are_counted_and_limited() -> None:
    photo = jpeg(progressive=True)
    structure = read_jpeg_structure(photo)
    assert 6 <= structure.scans <= 12 and structure.components == 3
    last = photo.rindex(b"\xff\xda")
    many = photo[:-2] + photo[last:-2] * 100 + photo[-2:]
    with pytest.raises(ImageError, match=r"has 1\d\d JPEG scans"):
        decode_image(many)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 5, 20, 200, 600])
def test_a_cut_file_ends_the_walk(length: int) -> None:
    assert read_jpeg_structure(jpeg()[:length]).end <= max(length, 2)


def test_a_gain_map_and_a_film_are_noted() -> None:
    photo = jpeg()
    body = b'http://ns.adobe.com/xap/1.0/\0<x xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"/>'
    segment = b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body
    loaded = decode_image(photo[:2] + segment + photo[2:] + FILM)
    assert {"gain map for HDR screens ignored", "film behind the picture ignored"} <= set(loaded.notes)
    assert not any("gain map" in note for note in decode_image(photo).notes)


def test_a_film_behind_a_large_gain_map_is_noted() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (400, 400), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG", quality=95)
    assert len(buffer.getvalue()) > 65_536
    assert "film behind the picture ignored" in decode_image(jpeg() + buffer.getvalue() + FILM).notes
    assert decode_image(jpeg() + buffer.getvalue()).notes == ()


def test_of_a_multi_picture_file_the_first_is_read_and_a_note_says_so() -> None:
    buffer = io.BytesIO()
    random_image(1, (64, 48)).save(buffer, "MPO", save_all=True, append_images=[random_image(2, (64, 48))])
    loaded = decode_image(buffer.getvalue())
    wanted = np.asarray(random_image(1, (64, 48)), dtype=float)
    assert np.abs(np.asarray(loaded.pixels, dtype=float) - wanted).mean() < 5
    assert any(note.startswith("first of 2 pictures") for note in loaded.notes)


def test_a_jpeg_of_another_kind_is_named() -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    deep = imagecodecs.jpeg_encode(np.asarray(random_image(1, (64, 48))).astype(np.uint16) * 16, bitspersample=12)
    with pytest.raises(ImageError, match=r"JPEG of a kind that is not decoded \(lossy, 12 bits a sample"):
        decode_image(deep)
    with pytest.raises(ImageError, match=r"JPEG of a kind that is not decoded \(JPEG-LS, 8 bits a sample"):
        decode_image(bytes(imagecodecs.jpegls_encode(np.asarray(random_image(1, (64, 48))))))

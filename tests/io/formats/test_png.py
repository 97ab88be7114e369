"""Chunks of a PNG: every reduction is noted, and letters in other chunks are no declaration."""

import io
import zlib

import numpy as np
import pytest

from imgaudit.benchmark.robustness.hostile.bytes import png, png_chunk, png_rows, with_png_chunks
from imgaudit.io.formats.png import read_png_structure
from imgaudit.io.images import decode_image
from tests.conftest import random_image


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_every_reduction_of_16_bits_is_noted(colour: int, channels: int) -> None:
    samples = np.arange(24 * 20 * channels).reshape(20, 24, channels) * 30 + 3000
    data = png((24, 20), png_rows(samples.astype(">u2").tobytes(), 20), depth=16, colour=colour)
    assert "reduced to 8 bit" in decode_image(data).notes


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_grey_is_white_at_every_depth(bits: int) -> None:
    """Pillow widens pixels of 2 and 4 bits and not the number in tRNS, and takes no notice of it at 16."""
    top = 2**bits - 1
    samples = np.arange(16 * 8).reshape(8, 16) * (top // 8 or 1) % (top + 1)
    hidden = 1 if bits == 1 else int(samples[0, 1])
    wide = np.unpackbits(samples.astype(">u2").view(np.uint8).reshape(8, 16, 2), axis=2)[..., -bits:]
    rows = np.packbits(wide.reshape(8, -1), axis=1).tobytes()
    data = with_png_chunks(
        png((16, 8), png_rows(rows, 8), depth=bits, colour=0), png_chunk(b"tRNS", hidden.to_bytes(2, "big"))
    )
    loaded = decode_image(data)
    expected = np.where(samples == hidden, 255, (samples * 255 / top).round())
    assert np.abs(np.asarray(loaded.pixels)[..., 0] - expected).max() == 0
    assert "alpha flattened on white" in loaded.notes


def test_letters_in_a_text_are_no_declaration() -> None:
    buffer = io.BytesIO()
    random_image(1).save(buffer, "PNG")
    text = b"Comment\0cICP\x09\x10\0\1 gAMA"
    data = with_png_chunks(buffer.getvalue(), png_chunk(b"tEXt", text))
    assert read_png_structure(data).coding is None and read_png_structure(data).gamma is None
    assert decode_image(data).pixels.tobytes() == random_image(1).tobytes()


def test_a_length_that_lies_ends_the_walk() -> None:
    data = b"\x89PNG\r\n\x1a\n" + b"\xff\xff\xff\xffIHDR" + zlib.compress(b"")
    assert read_png_structure(data).bits in range(256)

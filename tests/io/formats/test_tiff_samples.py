"""Samples of a TIFF: strips that are not whole, and depths, are refused or noted."""

import io
import zlib

import numpy as np
import pytest
import tifffile

from imgaudit.exceptions import ImageError
from imgaudit.io.formats.tiff_samples import scale_to_eight_bit
from imgaudit.io.images import decode_image

WIDE = (np.arange(48 * 40 * 3).reshape(48, 40, 3) * 11).astype(np.uint16)


def tiff(values: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]", **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, metadata=None, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_strip_that_is_not_whole_is_refused(compression: str | None) -> None:
    planes = np.ascontiguousarray(WIDE.transpose(2, 0, 1))
    data = tiff(planes, photometric="rgb", planarconfig="separate", compression=compression)
    assert decode_image(data).notes == ("reduced to 8 bit",)
    place = tifffile.TiffFile(io.BytesIO(data)).pages[0].dataoffsets[-1]
    with pytest.raises(ImageError, match="damaged or truncated"):
        decode_image(data[: place + 20])


def test_a_strip_that_unpacks_to_more_than_its_place_is_refused() -> None:
    values = np.zeros((2, 16, 16), dtype=np.uint32)
    data = tiff(values, photometric="minisblack", planarconfig="separate", compression="zlib", extrasamples=[0])
    page = tifffile.TiffFile(io.BytesIO(data)).pages[0]
    bomb = zlib.compress(bytes(1 << 22))
    place = len(data)
    changed = bytearray(data + bomb)
    for tag, number in ((273, place), (279, len(bomb))):
        at = page.tags[tag].valueoffset
        changed[at : at + 4] = number.to_bytes(4, "little")
    with pytest.raises(ImageError, match="not whole"):
        decode_image(bytes(changed))


def test_depths_are_scaled_by_what_the_format_calls_white() -> None:
    for bits in (9, 10, 12, 16):
        notes: list[str] = []
        top = 2**bits - 1
        values = np.array([[0, top // 2, top]], dtype=np.uint16)
        assert scale_to_eight_bit(values, bits, notes).tolist() == [[0, 127, 255]] and notes == ["reduced to 8 bit"]

"""Samples of a TIFF: strips that are not whole, and depths, are refused or noted."""

import io
import zlib

import numpy as np
import pytest
import tifffile
from PIL import ImageCms

from imgaudit.exceptions import ImageError
from imgaudit.io.formats.tiff_samples import FLOAT_AS_SRGB, scale_to_eight_bit
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


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_numbers_of_fewer_bits_are_refused_in_colour_and_inverted_too(bits: int) -> None:
    narrow = (WIDE % 2**bits).astype(np.uint16)
    with pytest.raises(ImageError, match=r"nearly black or nearly white|would come out black"):
        decode_image(tiff(narrow, photometric="rgb"))
    with pytest.raises(ImageError, match=f"lowest {bits} of its 16 bits"):
        decode_image(tiff(narrow[..., 0], photometric="miniswhite"))
    buffer = io.BytesIO(b"")
    buffer.write(b"P6 40 48 65535\n" + narrow.astype(">u2").tobytes())
    with pytest.raises(ImageError, match=r"of its 16 bits|would come out black"):
        decode_image(buffer.getvalue())


def test_a_picture_that_may_just_be_dark_is_read_and_noted() -> None:
    dark = (np.arange(48 * 40 * 3).reshape(48, 40, 3) * 2.8).astype(np.uint16)
    for values, photometric in ((dark, "rgb"), (dark[..., 0], "minisblack")):
        notes = decode_image(tiff(values, photometric=photometric)).notes
        assert "uses only the lowest 14 of its 16 bits, and is taken as dark as that" in notes


def test_floating_point_says_that_its_curve_is_not_known() -> None:
    values = (WIDE / 65535).astype(np.float32)
    assert FLOAT_AS_SRGB in decode_image(tiff(values, photometric="rgb")).notes
    assert FLOAT_AS_SRGB in decode_image(b"Pf\n40 48\n-1.0\n" + values[..., 0].tobytes()).notes
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert FLOAT_AS_SRGB not in decode_image(tiff(values, photometric="rgb", iccprofile=profile)).notes

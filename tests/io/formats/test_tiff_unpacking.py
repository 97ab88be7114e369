"""TIFFs in LZW in layouts that Pillow does not take: the same picture as without compression, or damaged."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from imgaudit.exceptions import ImageError
from imgaudit.io.formats import tiff_unpacking
from imgaudit.io.images import decode_image

imagecodecs = pytest.importorskip("imagecodecs")

GREY = (np.arange(70 * 60).reshape(70, 60) * 13).astype(np.uint16)
COLOUR = np.dstack([GREY, GREY.T.reshape(70, 60), GREY[::-1]])


def tiff(values: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]", **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, metadata=None, **options)
    return buffer.getvalue()


PLANES = np.ascontiguousarray(COLOUR.transpose(2, 0, 1))
LAYOUTS = {
    "grey and alpha, as GIMP saves it": (
        np.dstack([GREY, GREY[::-1]]).astype(np.uint8), {"photometric": "minisblack", "extrasamples": [2]}
    ),
    "a channel beside RGB, as Photoshop saves a selection": (
        np.dstack([COLOUR, GREY]).astype(np.uint8), {"photometric": "rgb", "extrasamples": [0], "predictor": True}
    ),
    "float": ((COLOUR / 65535).astype(np.float32), {"photometric": "rgb"}),
    "channels apart": (PLANES, {"photometric": "rgb", "planarconfig": "separate", "rowsperstrip": 16}),
    "channels apart, in one strip each": (PLANES, {"photometric": "rgb", "planarconfig": "separate"}),
    "tiles apart, differences, other byte order": (
        PLANES,
        {"photometric": "rgb", "planarconfig": "separate", "tile": (16, 32), "predictor": True, "byteorder": ">"},
    ),
    "BigTIFF, tiles": (np.dstack([COLOUR, GREY]), {"photometric": "rgb", "extrasamples": [0], "tile": (32, 16),
                                                   "predictor": True, "bigtiff": True}),
    "32 bit": (GREY.astype(np.uint32) * 65537, {"photometric": "minisblack", "predictor": True}),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("compression", ["lzw", "zstd"])
def test_the_picture_is_that_of_the_file_without_compression(name: str, compression: str) -> None:
    values, options = LAYOUTS[name]
    plain = {key: value for key, value in options.items() if key != "predictor"}
    packed = decode_image(tiff(values, compression=compression, **options))
    loose = decode_image(tiff(values, **plain))
    assert packed.pixels.tobytes() == loose.pixels.tobytes() and packed.notes == loose.notes


def test_a_cut_or_false_file_is_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    values, options = LAYOUTS["channels apart"]
    data = tiff(values, compression="lzw", **options)
    page = tifffile.TiffFile(io.BytesIO(data)).pages[0]
    assert isinstance(page, tifffile.TiffPage)
    with pytest.raises(ImageError, match="damaged or truncated"):
        decode_image(data[: page.dataoffsets[-1] + 20])
    spoilt = bytearray(data)
    spoilt[page.dataoffsets[4] : page.dataoffsets[4] + 40] = bytes(40)
    with pytest.raises(ImageError, match="damaged or truncated"):
        decode_image(bytes(spoilt))
    monkeypatch.setattr(tiff_unpacking, "MAX_PLANE_BYTES", 8000)
    with pytest.raises(ImageError, match="MB in compression LZW, which is not decoded: export it"):
        decode_image(data)


def test_the_largest_width_in_bytes_fits() -> None:
    """Rows of more than 65,535 bytes take a number of four bytes in the directory."""
    wide = np.tile(GREY[:2, :].astype(np.float64) / 65535, (1, 200))
    loaded = decode_image(tiff(wide, photometric="minisblack", compression="lzw"))
    assert loaded.pixels.size == (12_000, 2) and np.asarray(loaded.pixels.convert("L"))[0, 61] == round(13 / 257)
    assert isinstance(loaded.pixels, Image.Image)
